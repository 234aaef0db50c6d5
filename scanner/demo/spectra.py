"""Reflectance of the demo's surfaces in the twelve L2A bands, bare and under full green."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BANDS", "CLOUD", "GSD_M", "SURFACES", "Surface"]

BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""The bands of a Sentinel-2 L2A product, in the order of every array of the demo."""

GSD_M: Final = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20,
}  # fmt: skip
"""Native pixel size of a band, metres."""

_CROP: Final = (25, 30, 60, 35, 100, 300, 380, 420, 430, 430, 190, 90)
_GRASS: Final = (30, 40, 75, 55, 110, 220, 270, 300, 310, 320, 220, 120)
_TREES: Final = (15, 20, 38, 22, 60, 180, 230, 250, 260, 265, 130, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What a kind of ground looks like from above."""

    bare: tuple[int, ...]
    """Reflectance x 1000 per band without vegetation."""
    green: tuple[int, ...] = _GRASS
    """Reflectance x 1000 per band under full green."""
    texture: float = 0.06
    """Relative spread of brightness inside one patch."""
    scl: int = 5
    """Scene class when not green: 5 bare, 6 water."""

    def spectrum(self, *, green: bool = False) -> NDArray[np.float32]:
        """Reflectance per band."""
        return np.asarray(self.green if green else self.bare, np.float32) / np.float32(1000)


SURFACES: Final[dict[str, Surface]] = {
    "forest": Surface(bare=(22, 30, 48, 42, 80, 150, 180, 200, 210, 215, 170, 95), green=_TREES, texture=0.13),
    "crop": Surface(bare=(42, 52, 78, 118, 148, 168, 183, 198, 213, 218, 288, 245), green=_CROP, texture=0.05),
    "pasture": Surface(bare=(50, 60, 90, 100, 140, 200, 230, 260, 280, 290, 300, 200), texture=0.08),
    "red_soil": Surface(bare=(40, 50, 75, 122, 152, 170, 186, 200, 215, 220, 292, 250), texture=0.05),
    "pale_soil": Surface(bare=(75, 95, 135, 185, 208, 226, 241, 256, 271, 276, 352, 302), texture=0.05),
    "cleared": Surface(bare=(62, 78, 116, 178, 205, 220, 232, 244, 258, 260, 345, 300), texture=0.04),
    "sandbank": Surface(bare=(140, 175, 228, 275, 296, 312, 325, 338, 349, 350, 395, 350), texture=0.06),
    "roof": Surface(bare=(90, 110, 140, 200, 220, 238, 250, 262, 272, 270, 300, 262), texture=0.14),
    "concrete": Surface(bare=(150, 172, 194, 212, 224, 234, 243, 252, 258, 255, 266, 238), texture=0.14),
    "asphalt": Surface(bare=(75, 82, 90, 96, 102, 108, 113, 118, 122, 122, 136, 124), texture=0.12),
    "river": Surface(bare=(42, 48, 64, 55, 45, 24, 22, 18, 17, 17, 9, 6), texture=0.05, scl=6),
    "lake": Surface(bare=(30, 30, 31, 18, 14, 10, 10, 8, 7, 7, 4, 3), texture=0.04, scl=6),
    "pond": Surface(bare=(26, 29, 34, 22, 19, 13, 12, 10, 9, 9, 5, 4), texture=0.04, scl=6),
    "iron_pit": Surface(bare=(68, 78, 108, 196, 232, 246, 250, 244, 236, 240, 342, 318), texture=0.16),
    "iron_bench": Surface(bare=(48, 54, 72, 122, 146, 158, 160, 154, 148, 152, 226, 212), texture=0.16),
    "waste": Surface(bare=(165, 186, 214, 240, 252, 259, 264, 268, 272, 270, 296, 276), texture=0.16),
    "beach": Surface(bare=(205, 228, 256, 276, 283, 286, 288, 290, 291, 286, 228, 172), texture=0.06),
    "tailings_red": Surface(bare=(66, 80, 112, 182, 188, 140, 128, 108, 98, 88, 30, 20), texture=0.06, scl=6),
    "tailings_acid": Surface(bare=(98, 152, 202, 122, 92, 52, 46, 38, 32, 30, 12, 9), texture=0.06, scl=6),
    "tailings_grey": Surface(bare=(158, 188, 222, 214, 188, 138, 126, 110, 100, 90, 30, 20), texture=0.06, scl=6),
    "stone": Surface(bare=(214, 252, 302, 348, 366, 378, 388, 398, 404, 404, 444, 402), texture=0.12),
    "stone_bench": Surface(bare=(150, 176, 212, 246, 260, 268, 276, 283, 288, 288, 322, 290), texture=0.14),
    "sand": Surface(bare=(236, 286, 356, 416, 434, 446, 456, 466, 472, 472, 512, 462), texture=0.07),
}  # fmt: skip
"""Every surface by name."""

CLOUD: Final = np.asarray((620, 640, 650, 660, 665, 670, 675, 680, 680, 480, 430, 340), np.float32) / 1000
"""Reflectance of an opaque cloud per band."""
