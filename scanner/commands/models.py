"""`minescan models`: the cards."""

import click

__all__ = ["models"]


@click.group()
def models() -> None:
    """The detectors and judges there are."""


@models.command("list")
def list_models() -> int:
    """One line a card."""
    from models.registry import cards  # noqa: PLC0415

    for card in cards():
        click.echo(f"{card.name:24} {card.task:9} {card.level}  {len(card.bands)} bands  {card.limits.splitlines()[0]}")
    return 0


@models.command("show")
@click.argument("name")
def show_model(name: str) -> int:
    """A card in full."""
    from models.registry import find_card  # noqa: PLC0415

    click.echo(find_card(name).to_json(), nl=False)
    return 0
