"""The ground: zones, tiles, cells, ownership, chunks and the arithmetic of their bytes. Knows no network."""

from tiling.budget import Shares, chunk_px_for, stack_rows
from tiling.chunks import Chunk, chunks
from tiling.grid import GSD_M, TILE_PX, Tile, TileId, affine_of, margin_for, northing, pixel_at, row_of
from tiling.judged import Ground, cell_areas, judged, tiles_meeting
from tiling.lattice import CellId, CellRange, Lattice
from tiling.ownership import OutsideGridError, frame_of, lonlat, project_aoi, utm, zone_ground, zone_of, zones_of
from tiling.window import Window

__all__ = [
    "GSD_M",
    "TILE_PX",
    "CellId",
    "CellRange",
    "Chunk",
    "Ground",
    "Lattice",
    "OutsideGridError",
    "Shares",
    "Tile",
    "TileId",
    "Window",
    "affine_of",
    "cell_areas",
    "chunk_px_for",
    "chunks",
    "frame_of",
    "judged",
    "lonlat",
    "margin_for",
    "northing",
    "pixel_at",
    "project_aoi",
    "row_of",
    "stack_rows",
    "tiles_meeting",
    "utm",
    "zone_ground",
    "zone_of",
    "zones_of",
]
