"""What this machine has for a scan, and what is missing and where to get it."""

import os
import platform
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scanner.config import DEFAULT_CATALOG
from scanner.errors import CatalogError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Finding", "examine", "show"]

GIB = 1 << 30

MEMORY_BYTES = 4 * GIB
"""Below this a tile with many looks is reduced in thin strips: right, but slow."""

DISK_BYTES = 20 * GIB
"""A few tiles of composites."""

TIMEOUT_S = 5.0
"""How long the catalogue may take to answer."""

RASTER_DRIVERS = ("GTiff", "COG", "JP2OpenJPEG")
"""Scenes, what is written, and L1C scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What was looked at: a word or two."""
    ok: bool
    """Whether a scan can do with what is there."""
    text: str
    """What is there."""
    advice: str = ""
    """What to do, or what to know; empty when there is nothing to say."""


def examine(catalog: str = DEFAULT_CATALOG, folder: Path | None = None) -> tuple[Finding, ...]:
    """Look at the machine, the libraries, the cards, the disk under `folder` and the catalogue; never raises."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", _python),
        ("cores", _cores),
        ("memory", _memory),
        ("GPU", _gpu),
        ("disk", lambda: _disk(folder or Path.cwd())),
        ("GDAL rasters", _gdal_rasters),
        ("GDAL vectors", _gdal_vectors),
        ("zarrs", _zarrs),
        ("models", _models),
        ("catalogue", lambda: _catalogue(catalog)),
        ("L1C", _l1c),
    )
    return tuple(_checked(name, check) for name, check in checks)


def show(findings: Iterable[Finding], console: "Console | None" = None) -> None:
    """Print one row a finding, and its advice below the text."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("missing", style="red")
        told = Text(finding.text)
        if finding.advice:
            told.append(f"\n{finding.advice}", style="dim")
        table.add_row(Text(finding.name, style="bold"), mark, told)
    (console or Console()).print(table)


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  a broken library is the very thing to be told about
        return Finding(name=name, ok=False, text=f"{type(error).__name__}: {error}", advice="Install minescan anew.")


def _python() -> Finding:
    return Finding(name="python", ok=True, text=f"{platform.python_version()} on {platform.system()}")


def _cores() -> Finding:
    from dask.system import CPU_COUNT  # noqa: PLC0415

    return Finding(name="cores", ok=True, text=f"{CPU_COUNT} for this process, {os.cpu_count()} in the machine")


def _memory() -> Finding:
    import psutil  # noqa: PLC0415

    memory = psutil.virtual_memory()
    ok = memory.available >= MEMORY_BYTES
    return Finding(
        name="memory",
        ok=ok,
        text=f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
        advice="" if ok else f"Scans fit, but are slow below {MEMORY_BYTES / GIB:.0f} GiB; try --workers 1.",
    )


def _gpu() -> Finding:
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        return Finding(
            name="GPU",
            ok=True,
            text="none; networks run on the CPU",
            advice="Detection is seconds a tile; reading is where the time goes, with a GPU or without.",
        )
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Finding(
        name="GPU",
        ok=True,
        text=", ".join(f"{device.name}, {device.total_memory / GIB:.0f} GiB" for device in devices),
    )


def _disk(folder: Path) -> Finding:
    free_bytes = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    ok = writable and free_bytes >= DISK_BYTES
    advice = "Say --out on a larger disk, or --keep-composites none." if free_bytes < DISK_BYTES else ""
    return Finding(
        name="disk",
        ok=ok,
        text=f"{free_bytes / GIB:.1f} GiB free in {folder}" + ("" if writable else ", where you may not write"),
        advice=advice if writable else "Say --out in a folder of yours.",
    )


def _gdal_rasters() -> Finding:
    import rasterio  # noqa: PLC0415

    with rasterio.Env() as env:
        missing = [name for name in RASTER_DRIVERS if name not in env.drivers()]
    return _drivers("GDAL rasters", rasterio.__gdal_version__, RASTER_DRIVERS, missing)


def _gdal_vectors() -> Finding:
    import pyogrio  # noqa: PLC0415

    wanted = ("LIBKML", "GeoJSON", "GPKG")
    missing = [name for name in wanted if "w" not in pyogrio.list_drivers().get(name, "")]
    return _drivers("GDAL vectors", ".".join(map(str, pyogrio.__gdal_version__)), wanted, missing)


def _drivers(name: str, version: str, wanted: Iterable[str], missing: list[str]) -> Finding:
    if missing:
        advice = "Install rasterio and pyogrio from their wheels, which carry these drivers."
        return Finding(name=name, ok=False, text=f"GDAL {version} without {', '.join(missing)}", advice=advice)
    return Finding(name=name, ok=True, text=f"GDAL {version} with {', '.join(wanted)}")


def _zarrs() -> Finding:
    from importlib.metadata import version  # noqa: PLC0415

    from zarrs import ZarrsCodecPipeline  # noqa: PLC0415

    return Finding(name="zarrs", ok=True, text=f"{version('zarrs')}, {ZarrsCodecPipeline.__name__}")


def _models() -> Finding:
    from models.registry import cards  # noqa: PLC0415

    found = cards()
    return Finding(
        name="models",
        ok=bool(found),
        text=", ".join(card.name for card in found) or "no cards",
        advice="" if found else "Train one, or say MINESCAN_MODELS=FOLDER.",
    )


def _catalogue(url: str) -> Finding:
    if "://" not in url:
        ok = Path(url).exists()
        return Finding(name="catalogue", ok=ok, text=f"{url}: {'there' if ok else 'no such file'}")
    if not url.startswith(("http://", "https://")):
        raise CatalogError(f"{url!r}: expected http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  the scheme was looked at above
            return Finding(name="catalogue", ok=True, text=f"{url} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        advice = "The network is there; look at the address."
        return Finding(name="catalogue", ok=False, text=f"{url} answers with an error ({error.code})", advice=advice)
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Finding(
            name="catalogue",
            ok=False,
            text=f"no network: {url} cannot be reached ({_plain(reason)})",
            advice="Scan a local catalogue with --catalog FILE; `minescan demo` needs no network.",
        )


def _plain(reason: object) -> str:
    match reason:
        case socket.gaierror():
            return "its name is not known here"
        case TimeoutError():
            return f"no answer within {TIMEOUT_S:.0f} s"
        case OSError(strerror=str(text)):
            return text.lower()
        case _:
            return str(reason)


def _l1c() -> Finding:
    return Finding(
        name="L1C",
        ok=True,
        text="on public clouds it lies in requester-pays buckets: reading it takes an account that pays",
        advice="L2A needs no account.",
    )
