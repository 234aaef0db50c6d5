"""`minescan train`."""

from pathlib import Path

import click

from scanner.commands.options import logged

__all__ = ["train"]


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the card  [the user's models].")
@logged
def train(recipe: Path, out: Path | None) -> int:
    """Train a detector or an impact network as a recipe says, and make its card."""
    from scanner.run.training import train as run_training  # noqa: PLC0415

    for line in run_training(recipe, out):
        click.echo(line)
    return 0
