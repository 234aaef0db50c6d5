"""Options that many commands share."""

import functools
from collections.abc import Callable
from typing import Any

import click

__all__ = ["Command", "logged"]

Command = Callable[..., Any]

LOG_OPTIONS = (
    click.option("--quiet", is_flag=True, help="Warnings and results alone."),
    click.option("--verbose", is_flag=True, help="Everything that happens."),
    click.option("--log-json", is_flag=True, help="Log lines as JSON."),
)


def logged(command: Command) -> Command:
    """Adds the logging options and sets logging up before the command runs."""

    @functools.wraps(command)
    def wrapper(*, quiet: bool, verbose: bool, log_json: bool, **options: Any) -> Any:
        from scanner.run.progress import set_up_logging  # noqa: PLC0415

        set_up_logging(quiet=quiet, verbose=verbose, as_json=log_json)
        return command(**options)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(LOG_OPTIONS), wrapper)
