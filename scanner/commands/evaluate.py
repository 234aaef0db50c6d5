"""`minescan evaluate`."""

from pathlib import Path
from typing import Any

import click

from scanner.commands.options import logged
from scanner.errors import InputError

__all__ = ["evaluate"]

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("card")
@click.option("--catalog", required=True, help="STAC API, ItemCollection, static catalogue or stac-geoparquet.")
@click.option("--dates", required=True, multiple=True, help="START/END of the composite; repeat for several.")
@click.option(
    "--labels", required=True, multiple=True, type=PATH,
    help="Raster of class codes (0 is not labelled), or points or polygons; one for each --dates, or one for all.",
)  # fmt: skip
@click.option("--out", required=True, type=PATH, help="Folder for the figures.")
@click.option("--collection", help="Collection id  [the catalogue's Sentinel-2 of the level].")
@click.option("--level", type=click.Choice(["l1c", "l2a"]), help="Processing level  [the card's].")
@click.option("--looks", default="8", help="all, or the clear looks a pixel takes at most  [8].")
@click.option("--max-cloud", type=float, help="Leave out scenes with more cloud, percent.")
@click.option("--column", default="class", help="Column of the class, in points and polygons  [class].")
@click.option(
    "--class", "classes", multiple=True, metavar="VALUE=NAME",
    help="What a value of the labels is: a class of the card, or none; with two classes, those of one suffice.",
)  # fmt: skip
@click.option("--share", default=0.1, help="Of a cell's pixels that make it the target's  [0.1].")
@click.option("--labelled", default=0.5, help="Of a cell's pixels to be labelled for another class  [0.5].")
@click.option("--relax", default=0, help="Also figures without pixels so near to a class edge.")
@click.option("--remember", multiple=True, type=PATH, help="Training labels of the place  [the other --labels].")
@click.option("--season", is_flag=True, help="Also figures by season of the dates.")
@click.option("--by", help="Also figures by a column of points or polygons, such as a region.")
@click.option("--threshold", type=float, help="Score above which it is the target, of two classes  [the card's].")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where the network runs.")
@logged
def evaluate(*, classes: tuple[str, ...], looks: str, **options: Any) -> int:
    """Measure a detector against labels, beside what remembering the place would score."""
    named = dict(_named(text) for text in classes)
    from scanner.run.evaluate import EvaluateConfig, run_evaluate  # noqa: PLC0415

    found = run_evaluate(EvaluateConfig(classes=named, looks=_looks(looks), **options))
    for line in found.lines():
        click.echo(line)
    for line in found.failures:
        click.echo(line, err=True)
    click.echo(f"\n{options['out'] / 'metrics.json'}")
    return found.exit_code


def _named(text: str) -> tuple[str, str]:
    value, mark, name = text.rpartition("=")
    if not (value and mark and name):
        raise InputError(f"--class {text!r}: expected VALUE=NAME, such as 10=mine")
    return value, name


def _looks(text: str) -> Any:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--looks {text!r}: expected all or a whole number") from None
