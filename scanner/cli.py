"""The command line: options in, one line for every mistake, exit codes that stay put.

0 all done; 1 finished, but some units failed; 2 an input or option is wrong; 3 stopped by a budget; 130 interrupted.
"""

import errno
import functools
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from scanner.commands.chips import chips
from scanner.commands.evaluate import evaluate
from scanner.commands.models import models
from scanner.commands.options import Command, logged
from scanner.commands.train import train
from scanner.errors import InputError, MinescanError

if TYPE_CHECKING:
    from scanner.config import ScanConfig
    from scanner.run.scan import ScanResult

__all__ = ["cli", "main"]

SCAN_OPTIONS = (
    click.option("--aoi", help="Vector file, west,south,east,north, or GeoJSON text."),
    click.option("--dates", help="START/END, both days included, UTC."),
    click.option("--out", type=click.Path(path_type=Path), help="The scan's folder."),
    click.option("--catalog", help="STAC API, ItemCollection, static catalogue or stac-geoparquet  [Earth Search]."),
    click.option("--collection", help="Collection id  [the catalogue's Sentinel-2 of the level]."),
    click.option("--level", type=click.Choice(["l1c", "l2a"]), help="Processing level  [the detector's]."),
    click.option("--max-cloud", type=float, help="Leave out scenes with more cloud, percent."),
    click.option("--looks", help="all, or the clear looks a pixel takes at most  [8]."),
    click.option("--detector", help="A card's name or folder; see `minescan models list`."),
    click.option("--impact", help="A card's name or folder, or none  [the detector's partner]."),
    click.option("--threshold", type=float, help="Score above which a cell is a hit  [the card's]."),
    click.option("--delineate", help="A segmenter's card: it draws each candidate's outline  [none]."),
    click.option(
        "--isolation/--no-isolation",
        default=None,
        help="Ask more of hits far from others  [where the card has the rule].",
    ),
    click.option("--keep-composites", type=click.Choice(["all", "hits", "none"]), help="Composites to keep  [all]."),
    click.option("--join-distance", type=float, help="Metres within which hits are one candidate  [400]."),
    click.option("--chunk", help="auto, or the edge of a chunk in pixels  [auto]."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the networks run  [auto]."),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the detector; a card permits bf16."),
    click.option("--registry", multiple=True, metavar="NAME=FILE", help="Place candidates against a register."),
    click.option("--cluster", help="local, or a scheduler's address  [local]."),
    click.option("--workers", type=int, help="Worker processes  [by cores and memory]."),
    click.option("--max-bytes", type=int, help="Do not start if more may be read."),
    click.option("--max-hours", type=float, help="Do not start if it may take longer."),
    click.option("--config", type=click.Path(path_type=Path), help="scan.toml with any of these options."),
)


def _scan_options(command: Command) -> Command:
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(SCAN_OPTIONS), command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="minescan")
def cli() -> None:
    """Find mines and tailings dams in Sentinel-2 images, over any area."""


@cli.command()
@_scan_options
@logged
def scan(**options: Any) -> int:
    """Plan, composite, detect, join, export. The same command again resumes."""
    config = _config(options)
    from scanner.run.scan import scan as run_scan  # noqa: PLC0415

    return _report(run_scan(config))


@cli.command()
@_scan_options
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@logged
def plan(*, as_json: bool, **options: Any) -> int:
    """Price a scan and stop: tiles, scenes, bytes, requests, memory, hours."""
    options["out"] = options["out"] or Path("plan-only")
    config = _config(options)
    from scanner.run.cost import describe  # noqa: PLC0415
    from scanner.run.scan import check_budget  # noqa: PLC0415
    from scanner.run.setup import prepare  # noqa: PLC0415

    prepared = prepare(config)
    click.echo(json.dumps(prepared.cost.as_json(), indent=1) if as_json else "\n".join(describe(prepared.cost)))
    check_budget(prepared)
    return 0


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def status(folder: Path) -> int:
    """What is done, failed or waiting, and the files that could not be had."""
    from scanner.run.status import read_status  # noqa: PLC0415

    found = read_status(folder)
    for line in found.lines():
        click.echo(line)
    return 0 if found.complete else 1


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), help="File to write; its ending says how."
)
@click.option("--min-score", type=float, help="Leave out candidates below this score.")
@click.option("--impact", type=click.Choice(["high", "low", "unknown"]), help="This impact alone.")
def export(folder: Path, target: Path, min_score: float | None, impact: str | None) -> int:
    """Candidates in another format, or filtered anew, without scanning again."""
    from scanner.export import export_to  # noqa: PLC0415
    from scanner.store.layout import ScanFolder  # noqa: PLC0415

    ScanFolder(folder).require()
    count = export_to(folder, target, min_score=min_score, impact=impact)
    click.echo(f"{count} candidates in {target}")
    return 0


@cli.command()
@logged
def doctor() -> int:
    """What this machine has, and what is missing."""
    from scanner.run.doctor import examine, show  # noqa: PLC0415

    show(examine())
    return 0


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("minescan-demo"), help="The scan's folder.")
@logged
def demo(out: Path) -> int:
    """The whole program on a small synthetic region; needs no network."""
    from scanner.demo.run import run_demo  # noqa: PLC0415

    return run_demo(out)


for command in (chips, evaluate, models, train):
    cli.add_command(command)


def _config(options: Mapping[str, Any]) -> "ScanConfig":
    from scanner.config import load_config  # noqa: PLC0415

    given = {key: value for key, value in options.items() if key not in ("config", "registry", "chunk", "looks")}
    if options["registry"]:
        given["registry"] = dict(_registry(text) for text in options["registry"])
    for name, word in (("chunk", "auto"), ("looks", "all")):
        if options[name] is not None:
            given[name] = _number_or(word, name, options[name])
    return load_config(options["config"], given)


def _registry(text: str) -> tuple[str, str]:
    name, mark, file = text.partition("=")
    if not (name and mark and file):
        raise InputError(f"--registry {text!r}: expected NAME=FILE, such as permits=permits.gpkg")
    return name, file


def _number_or(word: str, name: str, text: str) -> str | int:
    if text == word:
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--{name} {text!r}: expected {word} or a whole number") from None


def _report(result: "ScanResult") -> int:
    """What was found and where it lies; failures by name on stderr."""
    for line in result.failures:
        click.echo(line, err=True)
    km2 = result.run["km2"]
    click.echo(f"{len(result.candidates)} candidates; {km2['seen_km2']:.1f} of {km2['aoi_km2']:.1f} km² seen")
    click.echo(f"{result.out / 'candidates.csv'}\n{result.out / 'candidates.kml'}")
    return result.exit_code


def main() -> NoReturn:
    """Entry point of `minescan`."""
    try:
        code = cli(standalone_mode=False) or 0
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        code = _say(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted; the same command resumes", 130)
    except MinescanError as error:
        code = _say(str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001  a user is never shown a traceback
        code = _unforeseen(error)
    sys.exit(code)


def _say(message: str, code: int) -> int:
    click.echo(f"minescan: {' '.join(message.split())}", err=True)
    return code


def _unforeseen(error: Exception) -> int:
    """The rooms below refuse input with ValueErrors of their own; everything else is ours or the machine's."""
    if isinstance(error, ValueError) and type(error).__module__.startswith(("tiling.", "models.", "deploy.")):
        return _say(str(error), 2)
    logging.getLogger("minescan").debug("the traceback", exc_info=error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _say(
            f"{error.strerror or error} ({error.filename or 'the scan'}): make room; the same command resumes", 1
        )
    if "database or disk is full" in str(error):
        return _say("the disk of the scan's folder is full: make room; the same command resumes", 1)
    return _say(f"{type(error).__name__}: {error}; run it again with --verbose for the traceback", 1)
