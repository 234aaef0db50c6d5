"""Candidates, cells and rasters given out, in the formats of the field."""

from scanner.export.tables import candidates_frame, provenance
from scanner.export.vector import FORMATS, export_to, read_candidates, write_all

__all__ = ["FORMATS", "candidates_frame", "export_to", "provenance", "read_candidates", "write_all"]
