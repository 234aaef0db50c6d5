"""Seconds, medians and their spread, and what the figures were measured on."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Row", "interleaved", "machine", "peak_bytes", "timed"]

PACKAGES = ("numpy", "numba", "rasterio", "imagecodecs", "zarr", "zarrs", "torch", "odc-stac", "dask", "xarray")


@dataclass(slots=True)
class Row:
    """Runs of one thing."""

    cpu_s: list[float] = field(default_factory=list)
    """CPU seconds of this process, all its threads; of the workers, where workers ran it."""
    wall_s: list[float] = field(default_factory=list)
    """Wall seconds."""
    result: Any = None
    """What the last run gave."""

    def add(self, cpu_s: float, wall_s: float, result: Any = None) -> None:
        self.cpu_s.append(cpu_s)
        self.wall_s.append(wall_s)
        self.result = result

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu_s)

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall_s)

    def summary(self) -> dict[str, float | int]:
        """For the JSON."""
        return {
            "runs": len(self.cpu_s),
            "cpu_s": round(self.cpu, 3), "cpu_s_min": round(min(self.cpu_s), 3), "cpu_s_max": round(max(self.cpu_s), 3),
            "wall_s": round(self.wall, 3), "wall_s_min": round(min(self.wall_s), 3),
            "wall_s_max": round(max(self.wall_s), 3),
        }  # fmt: skip


def timed(row: Row, call: Callable[[], Any]) -> None:
    """Run once in this process."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    result = call()
    row.add(time.process_time() - cpu_s, time.perf_counter() - wall_s, result)


def interleaved(rows: dict[str, Row], calls: Mapping[str, Callable[[], Any]], runs: int) -> None:
    """Run each in turn, again and again, so that a slow minute of the machine falls on all alike."""
    for _ in range(runs):
        for name, call in calls.items():
            timed(rows.setdefault(name, Row()), call)


def peak_bytes() -> int:
    """The most memory this process has had in RAM.

    `ru_maxrss` will not do: a process inherits it from the one that started it.
    """
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def machine() -> dict[str, Any]:
    """What the figures were measured on, and of which program."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "ram_gb": round(psutil.virtual_memory().total / 1e9, 1), "system": platform.system(),
        "python": platform.python_version(), "packages": {name: version(name) for name in PACKAGES}, "commit": commit,
    }  # fmt: skip
