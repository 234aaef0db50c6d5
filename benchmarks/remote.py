"""The same composite from local files and through a server whose every answer comes 50 ms late.

    python benchmarks/remote.py [--size 4608] [--looks 24] [--runs 3] [--delay 0.05] [--folder FILES] [--json FILE]

The server is nginx on loopback, as the tests start it; it works on the same cores, so its CPU is shown apart. `fetched`
makes the requests of the composite before it once more and lets their bytes go: what the network and the client take
when nothing else is done. Local and remote composites must be equal.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import Row, machine, timed
from ours import composite, request, stored
from scenes import ground, make_files, make_scenes

from scanner.composite.build import CompositeRequest
from scanner.composite.fetch import Fetcher, Place
from scanner.types import Scene

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from servers import RangeServer, Served, nginx

THREADS, WARM_PX = 2, 600
WAITING = 200
"""Requests that `fetched` has in the line."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """One measurement."""

    server: RangeServer
    """Serves the scenes' files."""
    process: psutil.Process
    """It."""
    rows: dict[str, Row]
    """By name."""
    nginx_s: dict[str, list[float]]
    """The server's CPU seconds by name."""
    served: list[Served]
    """What the last run had of it."""

    def run(self, name: str, call: Any) -> None:
        """Once more."""
        before, spent = len(self.server.served()), sum(self.process.cpu_times()[:2])
        timed(self.rows.setdefault(name, Row()), call)
        self.nginx_s.setdefault(name, []).append(sum(self.process.cpu_times()[:2]) - spent)
        self.served = self.server.served()[before:]
        row, nbytes = self.rows[name], sum(one.nbytes for one in self.served)
        print(
            f"{name:9} CPU {row.cpu_s[-1]:7.2f} s  wall {row.wall_s[-1]:7.2f} s  "
            f"nginx {self.nginx_s[name][-1]:6.2f} s  {len(self.served):6} requests  {nbytes / 1e6:8.1f} MB", flush=True,
        )  # fmt: skip


@contextmanager
def served(folder: Path, state: Path, delay_s: float) -> Iterator[Bench]:
    """A server and no run yet."""
    with nginx(folder, state, delay_s=delay_s) as server:
        (process,) = [one for one in psutil.Process().children() if one.name() == "nginx"]
        yield Bench(server=server, process=process, rows={}, nginx_s={}, served=[])


def at(url: str, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """The scenes as the server gives them."""
    return tuple(
        replace(scene, assets={
            name: replace(asset, href=f"{url}/{Path(asset.href).name}") for name, asset in scene.assets.items()
        })
        for scene in scenes
    )  # fmt: skip


def fetched(url: str, requests: Sequence[Served]) -> None:
    """Make requests again, as many at once as a composite may."""
    fetcher = Fetcher()
    ranges = (one.range.removeprefix("bytes=").split("-") for one in requests)
    asked = (
        fetcher.submit(Place(href=url + one.uri), [(int(first), int(last) + 1)])
        for one, (first, last) in zip(requests, ranges, strict=True)
    )
    waiting = deque(islice(asked, WAITING))
    while waiting:
        waiting.popleft().result()
        waiting.extend(islice(asked, 1))
    fetcher.close()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Local, remote and fetched in turn, all warm."""
    window, scenes = ground(options.size // 12 * 12), make_scenes(folder, options.looks)
    with tempfile.TemporaryDirectory() as name, served(folder, Path(name) / "nginx", options.delay) as bench:
        roots = {which: Path(name) / which for which in ("local", "remote")}

        def wanted(which: str) -> CompositeRequest:
            return request(window, scenes if which == "local" else at(bench.server.url, scenes), threads=THREADS)

        for which, root in roots.items():
            composite(root, replace(wanted(which), windows=(ground(WARM_PX),), scenes=wanted(which).scenes[:4]))
        for _ in range(options.runs):
            for which, root in roots.items():
                bench.run(which, lambda: composite(root, wanted(which)))  # noqa: B023  used at once
            had = bench.served
            bench.run("fetched", lambda: fetched(bench.server.url, had))  # noqa: B023
        local, remote = (stored(root, window) for root in roots.values())
        for band, arrays in local.items():
            for one, other in zip(arrays[1:], remote[band][1:], strict=True):
                np.testing.assert_array_equal(one, other)
    rows = bench.rows
    return {
        "machine": machine(), "size_px": window.width_px, "looks": options.looks, "threads": THREADS,
        "delay_s": options.delay, "requests": len(had), "nbytes_fetched": sum(one.nbytes for one in had),
        "ratio_remote_over_local": round(rows["remote"].wall / rows["local"].wall, 3),
        "ratio_remote_over_local_cpu": round(rows["remote"].cpu / rows["local"].cpu, 3),
        "nginx_cpu_s": {name: round(statistics.median(seconds), 2) for name, seconds in bench.nginx_s.items()},
        "rows": {name: row.summary() for name, row in rows.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=4608, help="edge of the ground, px of 10 m")
    parser.add_argument("--looks", type=int, default=24)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before every answer")
    parser.add_argument("--folder", type=Path, help="files that were made for this size before")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.folder is None:
            make_files(Path(name), ground(options.size // 12 * 12))
        found = measure(options.folder or Path(name), options)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
