"""One tiny region, drawn cards, one warm cluster and one undisturbed scan, for every test of the whole program."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.clusters import ClusterSpec, open_cluster
from models.card import ModelCard
from models.networks import FCN, IMPACT, build
from models.registry import save_card
from scanner import ScanConfig
from scanner.cli import main
from scanner.demo.region import Region, make_region
from scanner.demo.sites import RegionSpec
from scanner.run.scan import ScanResult, scan
from scanner.types import Receipt

BANDS = ("B02", "B04", "B08", "B11")
"""Both pixel sizes that matter, and a third of the reading."""

WRITTEN = ("candidates.*", "cells.parquet", "coverage.*", "coverage/*.tif", "probability/*.tif")
"""What a scan writes for its user, run.json aside: that one holds times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("minescan: ")
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    """Two granules of 3.84 km in two zones on five dates; six tiles meet."""
    spec = RegionSpec(size_px=384, dates=5, mines=2, decoys=8, cloud_called=1)
    return make_region(tmp_path_factory.mktemp("region"), 11, spec)


def _card(task: str, **changes: Any) -> ModelCard:
    detector = task == "detector"
    values: dict[str, Any] = {
        "name": f"drawn-{task}",
        "task": task,
        "mode": "fcn" if detector else "window",
        "network": FCN if detector else IMPACT,
        "level": "l2a",
        "bands": BANDS,
        "mean": (0.08, 0.1, 0.25, 0.2),
        "std": (0.05, 0.06, 0.1, 0.1),
        "window_px": 189 if detector else 21,
        "stride_px": 27 if detector else 21,
        "halo_px": 94 if detector else 0,
        "classes": ("not_mine", "mine") if detector else ("high_impact", "low_impact", "no_ore"),
        "impact": "drawn-impact" if detector else None,
        "limits": "Drawn at random for a test.",
        "licence": "CC0-1.0",
        "origin": "a random number generator",
    }
    return ModelCard(**(values | changes))


def _save(root: Path, card: ModelCard, seed: int = 3) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build(card.network, bands=len(card.bands), classes=len(card.classes)).state_dict()
    if card.task == "detector":  # a fresh head hardly moves with its input; this one finds a tenth of the cells
        weights["head.weight"] *= 50
        weights["head.bias"][1] += 2.0
    save_card(root / card.name, card, weights)


@pytest.fixture(scope="session", autouse=True)
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of cards with drawn weights, the only one there is."""
    root = tmp_path_factory.mktemp("cards")
    _save(root, _card("detector"))
    _save(root, _card("impact"))
    _save(root, _card("detector", name="other-detector", impact=None), seed=4)
    _save(root, _card("detector", name="drawn-l1c", level="l1c", impact=None))
    _save(root, _card("detector", name="wants-b10", bands=("B02", "B04", "B08", "B10"), impact=None))
    _save(root, _card("impact", name="impact-5-bands", bands=(*BANDS, "B12"), mean=(0.1,) * 5, std=(0.1,) * 5))
    before = os.environ.get("MINESCAN_MODELS")
    os.environ["MINESCAN_MODELS"] = str(root)
    yield root
    if before is None:
        del os.environ["MINESCAN_MODELS"]
    else:
        os.environ["MINESCAN_MODELS"] = before


@pytest.fixture(scope="session")
def cluster(cards: Path) -> Iterator[str]:
    """A scheduler's address: workers that are warm cost each scan a second instead of ten."""
    assert cards.is_dir()
    with open_cluster(ClusterSpec(workers=2, threads_per_worker=1)) as client:
        yield client.scheduler.address


@pytest.fixture(scope="session")
def config_of(region: Region, cluster: str) -> Callable[..., ScanConfig]:
    """config_of(out, **changes): the undisturbed scan's options, but for those changed."""

    def make(out: Path, **changes: Any) -> ScanConfig:
        values: dict[str, Any] = {
            "aoi": ",".join(map(str, region.aoi)),
            "dates": region.dates,
            "catalog": str(region.items),
            "out": out,
            "detector": "drawn-detector",
            "device": "cpu",
            "workers": 2,
            "cluster": cluster,
        }
        return ScanConfig(**(values | changes))

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """A scan that nothing disturbed."""

    result: ScanResult
    receipts: tuple[Receipt, ...]

    @property
    def out(self) -> Path:
        """Its folder."""
        return self.result.out


@pytest.fixture(scope="session")
def healthy(config_of: Callable[..., ScanConfig], tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    """The whole region scanned in one go."""
    receipts: list[Receipt] = []
    result = scan(config_of(tmp_path_factory.mktemp("healthy") / "scan"), on_receipt=receipts.append)
    assert result.exit_code == 0
    assert [receipt for receipt in receipts if receipt.status != "done"] == []
    return Healthy(result=result, receipts=tuple(receipts))


@pytest.fixture(scope="session")
def written() -> Callable[[Path], dict[str, bytes]]:
    """written(folder): every file a user reads, by its path."""

    def read(folder: Path) -> dict[str, bytes]:
        files = [path for pattern in WRITTEN for path in sorted(folder.glob(pattern))]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def composites() -> Callable[[Path], dict[str, bytes]]:
    """composites(folder): every file of composite.zarr, by its path."""

    def read(folder: Path) -> dict[str, bytes]:
        root = folder / "composite.zarr"
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    return read


@pytest.fixture
def minescan(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """minescan(*arguments): the command line in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["minescan", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code=code, out=said.out, err=said.err)

    return run


@pytest.fixture(scope="session")
def arguments(region: Region) -> Callable[..., list[str]]:
    """arguments(out, **changes): `scan` options of the undisturbed scan; None leaves one out."""

    def make(out: Path, **changes: object) -> list[str]:
        values: dict[str, object] = {
            "aoi": ",".join(map(str, region.aoi)),
            "dates": region.dates,
            "catalog": region.items,
            "out": out,
            "detector": "drawn-detector",
            "device": "cpu",
            "workers": 2,
        }
        given = values | changes
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]

    return make
