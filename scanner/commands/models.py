"""`minescan models`: the cards; others' weights and programs in, ours out."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from scanner.commands.options import Command
from scanner.errors import InputError

__all__ = ["models"]

_FIELDS = (
    click.option("--bands", help="Comma-separated, in the order that the network takes: B02,B03,B04,B08."),
    click.option("--level", type=click.Choice(["l1c", "l2a"]), help="Processing level it was trained on."),
    click.option("--classes", help="Comma-separated, in the order of its numbers, the target last  [not_mine,mine]."),
    click.option("--task", type=click.Choice(["detector", "impact"]), help="What it judges  [detector]."),
    click.option("--mode", type=click.Choice(["fcn", "window"]), help="One pass, or patches scored alone  [window]."),
    click.option("--output", type=click.Choice(["cells", "pixels"]), help="Classifier or segmenter  [cells]."),
    click.option("--finer", type=int, help="Output pixels along an input pixel's edge  [1]."),
    click.option("--window", "window_px", type=int, help="Edge of a patch in pixels  [the file's]."),
    click.option("--stride", "stride_px", type=int, help="Pixels from patch to patch  [half a window]."),
    click.option("--halo", "halo_px", type=int, help="Pixels that a core needs on each side (mode fcn)."),
    click.option("--scaling", type=click.Choice(["clip", "standard", "patch"]), help="What it takes  [clip: 0 to 1]."),
    click.option("--mean", help="Comma-separated, a band each, for scaling standard."),
    click.option("--std", help="Comma-separated, a band each, for scaling standard."),
    click.option("--gives", type=click.Choice(["logits", "probabilities"]), help="What a program gives  [logits]."),
    click.option("--threshold", type=float, help="Score above which a cell is a hit  [0.5]."),
    click.option("--purpose", help="What it is good for, in a short phrase."),
    click.option("--limits", help="What it is not good for, in plain words."),
    click.option("--licence", help="SPDX name or a sentence."),
    click.option("--origin", help="Where it comes from  [the file's name]."),
)


def _card_fields(command: Command) -> Command:
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_FIELDS), command)


@click.group()
def models() -> None:
    """The detectors and judges there are."""


@models.command("list")
def list_models() -> int:
    """One line a card."""
    from models.registry import entries  # noqa: PLC0415
    from scanner.commands.card_words import table  # noqa: PLC0415

    click.echo("\n".join(table(entries())))
    return 0


@models.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The card as it is stored.")
def show_model(name: str, *, as_json: bool) -> int:
    """A card in plain words."""
    from models.card import read_card  # noqa: PLC0415
    from models.registry import find  # noqa: PLC0415
    from scanner.commands.card_words import described  # noqa: PLC0415

    folder = find(name)
    card = read_card(folder)
    click.echo(card.to_json().rstrip() if as_json else "\n".join(described(folder, card)))
    return 0


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Of the card.")
@click.option("--out", type=click.Path(path_type=Path), help="The card's folder  [in the user's models].")
@click.option("--force", is_flag=True, help="In the place of a card of that name.")
@_card_fields
def import_model(file: Path, name: str, out: Path | None, *, force: bool, **options: Any) -> int:
    """Make a card of a Keras .h5 classifier, a torch.export program (.pt2) or an ONNX file.

    Published weights that are known, and files that `models export` wrote, need no more than a name.
    """
    from models.importing.bring import bring  # noqa: PLC0415

    brought = bring(file, name, _given(options), out=out, force=force)
    click.echo(f"card {brought.card.name} in {brought.folder}; minescan models show {out or name}")
    if brought.assumed:
        said = ", ".join(f"{key.removesuffix('_px')} {_word(getattr(brought.card, key))}" for key in brought.assumed)
        click.echo(f"assumed, since neither the file nor an option says otherwise: {said}")
    return 0


@models.command("export")
@click.argument("name")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="FILE.pt2 or FILE.onnx.")
def export_model(name: str, target: Path) -> int:
    """Write a card's network as a torch.export program or as ONNX, and check that it gives the same numbers."""
    from models.exporting import export_model as run_export  # noqa: PLC0415

    difference = run_export(name, target)
    click.echo(f"{target}: probabilities within {max(difference, 1e-8):.0e} of the network's")
    return 0


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Card fields that the user said; lists taken apart."""
    given = {key: value for key, value in options.items() if value is not None}
    for key in ("bands", "classes", "mean", "std"):
        if key in given:
            given[key] = tuple(part.strip() for part in given[key].split(","))
    for key in ("mean", "std"):
        if key in given:
            given[key] = tuple(_number(key, part) for part in given[key])
    return given


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{key} {text!r}: expected numbers with commas between them, one a band") from None


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
