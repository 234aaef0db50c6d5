"""`minescan train`."""

from pathlib import Path

import click

from scanner.commands.options import logged

__all__ = ["train"]


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the card  [the user's models].")
@click.option(
    "--from", "begin_from", metavar="CARD", help="Begin with this card's weights; bands and classes may differ."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where it is trained  [auto]."
)
@logged
def train(recipe: Path, out: Path | None, begin_from: str | None, device: str) -> int:
    """Train a network as a recipe says, and make its card. The same command again goes on after a kill."""
    from scanner.run.training import Options  # noqa: PLC0415
    from scanner.run.training import train as run_training  # noqa: PLC0415

    for line in run_training(recipe, Options(out=out, begin_from=begin_from, device=device)):
        click.echo(line)
    return 0
