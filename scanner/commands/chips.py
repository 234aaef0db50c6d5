"""`minescan chips`."""

from pathlib import Path
from typing import Any

import click

from scanner.commands.options import logged
from scanner.errors import InputError

__all__ = ["chips"]


@click.command()
@click.option("--points", multiple=True, metavar="[NAME=]FILE", help="Vector file, or CSV with lon and lat; its class.")
@click.option("--column", help="Column that holds the class.")
@click.option("--class", "classes", multiple=True, metavar="VALUE=NAME", help="Rows to take  [all, as they are].")
@click.option("--group", help="Column that says what is held out together  [blocks of 0.1 degrees].")
@click.option("--size", "size_px", type=int, help="Edge of a chip in pixels of 10 m.")
@click.option("--box", is_flag=True, help="Each geometry's bounding box in place of --size.")
@click.option("--labels", type=click.Path(path_type=Path), help="Raster of class codes, 0 not labelled.")
@click.option("--background", metavar="NAME", help="Class of pixels in no polygon  [not labelled].")
@click.option("--negatives-from", multiple=True, metavar="[NAME=]DIR", help="A scan's rejected hits  [not_mine].")
@click.option("--dates", multiple=True, help="START/END, both days included, UTC; again for another composite.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The Zarr group to make.")
@click.option("--catalog", help="STAC API, ItemCollection, static catalogue or stac-geoparquet  [Earth Search].")
@click.option("--collection", help="Collection id  [the catalogue's Sentinel-2 of the level].")
@click.option("--level", type=click.Choice(["l1c", "l2a"]), help="Processing level  [l2a].")
@click.option("--bands", help="Such as B02,B03,B04,B08  [all of the level].")
@click.option("--looks", help="all, or the clear looks a pixel takes at most  [8].")
@click.option("--max-cloud", type=float, help="Leave out scenes with more cloud, percent.")
@click.option("--balance", is_flag=True, help="As many chips of each class as the rarest has.")
@click.option("--seed", type=int, help="Of the draw for --balance  [0].")
@logged
def chips(**options: Any) -> int:
    """Cut training chips at labelled places, from the same catalogue and compositor as a scan."""
    from scanner.run.chip_config import ChipsConfig  # noqa: PLC0415
    from scanner.run.chip_set import make_chips  # noqa: PLC0415

    result = make_chips(ChipsConfig(**_given(options)))
    for line in result.lines():
        click.echo(line)
    return 1 if result.faults else 0


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options by the names that `ChipsConfig` has; what was not given is left to its defaults."""
    if options.pop("box") == (options["size_px"] is not None):
        raise InputError("give --size PX for the edge of a chip, or --box for each geometry's bounding box")
    negatives = options.pop("negatives_from")
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if options["bands"]:
        given["bands"] = tuple(options["bands"].replace(",", " ").split())
    if options["looks"]:
        given["looks"] = _looks(options["looks"])
    if options["classes"]:
        given["classes"] = dict(_pair(text) for text in options["classes"])
    given["points"] = tuple(_named(text, "") for text in options["points"])
    given["negatives"] = tuple(_named(text, "not_mine") for text in negatives)
    return given


def _pair(text: str) -> tuple[str, str]:
    value, mark, name = text.rpartition("=")
    if not (value and mark and name):
        raise InputError(f"--class {text!r}: expected VALUE=NAME, such as 1=mine")
    return value, name


def _named(text: str, default: str) -> tuple[str, Path]:
    """NAME=FILE, or a file alone, which may have the mark in its own name."""
    name, mark, file = text.partition("=")
    if mark and name and "/" not in name and not Path(text).exists():
        return name, Path(file)
    return default, Path(text)


def _looks(text: str) -> int | str:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--looks {text!r}: expected all or a whole number") from None
