"""A tile of pixels stays within what was computed for it."""

import json
import subprocess
import sys

import pytest

CHILD = """
import json, resource, sys
from pathlib import Path
import numpy as np, shapely
from scanner.detection.found import Found
from scanner.detection.pixels import AskedPixels, detect_pixels, held_nbytes_per_px
from scanner.export.sheet import probability_sheet
from scanner.run.detect_job import PIXELS_NBYTES
from models import ModelCard
from tiling import Ground, TileId, frame_of

finer, chunk_px, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
tile = TileId(zone=32633, column=6, row=61)
card = ModelCard(
    name="even", task="detector", mode="window", output="pixels", finer=finer, network="unet", level="l2a",
    bands=("B04", "B08"), mean=(0.1,) * 2, std=(0.1,) * 2, window_px=64, stride_px=64, halo_px=0,
    classes=("not_mine", "mine"), limits="", licence="", origin="",
)

class Even:
    # Stands where a network would: its own memory is not asked about here.
    card = card
    def score_core(self, core):
        height, width = (edge * finer for edge in core.shape[1:])
        scores = np.full((2, height, width), 0.25, np.float32)
        scores[1, ::64, ::64] = 0.75
        return scores

def read(window):
    return np.full((2, *window.shape), 2000, np.uint16), np.full(window.shape, 5, np.uint16)

ground = Ground(tile.zone, tile.window, frame_of(tile.zone, tile.window))
asked = AskedPixels(tile=tile, card=card, ground=ground, chunk_px=chunk_px)
def run(parts):
    found = []
    with probability_sheet(Path(folder) / "p.tif", asked.cells.shape, transform=asked.lattice.transform(asked.cells),
                           epsg=tile.zone, classes=card.classes) as sheet:
        for part in parts:
            sheet.write(*asked.lattice.covering(part.window).slices_in(asked.cells), part.probabilities)
            found.append(part.found)
    return Found.together(found)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found = run(detect_pixels(asked, read, Even(), None, 0.5))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
computed = PIXELS_NBYTES + (held_nbytes_per_px(card) + 2 * len(card.bands) + 8 * finer**2) * chunk_px**2
print(json.dumps({"peak": peak, "computed": computed, "found": len(found)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("finer", "chunk_px"), [(1, 1024)])
def test_a_whole_tile_of_pixels_peaks_below_what_was_computed(tmp_path, finer, chunk_px):
    command = [sys.executable, "-c", CHILD, str(finer), str(chunk_px), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["found"] == (9216 * finer // 64) ** 2
    assert said["peak"] <= said["computed"], said
