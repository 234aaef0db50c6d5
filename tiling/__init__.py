"""The ground: zones, tiles, cells, ownership, chunks and the arithmetic of their bytes. Knows no network."""

from tiling.budget import Panel, chunk_px_for, composite_nbytes, look_rows, panel_blocks
from tiling.chunks import Chunk, chunks
from tiling.grid import GSD_M, TILE_PX, Tile, TileId, affine_of, margin_for, northing, pixel_at, row_of
from tiling.lattice import CellId, CellRange, Lattice, cell_areas, judged, tiles_meeting
from tiling.ownership import OutsideGridError, frame_of, lonlat, project_aoi, utm, zone_ground, zone_of, zones_of
from tiling.window import Window

__all__ = [
    "GSD_M",
    "TILE_PX",
    "CellId",
    "CellRange",
    "Chunk",
    "Lattice",
    "OutsideGridError",
    "Panel",
    "Tile",
    "TileId",
    "Window",
    "affine_of",
    "cell_areas",
    "chunk_px_for",
    "chunks",
    "composite_nbytes",
    "frame_of",
    "judged",
    "lonlat",
    "look_rows",
    "margin_for",
    "northing",
    "panel_blocks",
    "pixel_at",
    "project_aoi",
    "row_of",
    "tiles_meeting",
    "utm",
    "zone_ground",
    "zone_of",
    "zones_of",
]
