"""The lengths of the detector's cells, without torch."""

__all__ = ["CHIP_PX", "FIELD_PX", "HALO_PX", "STRIDE_PX", "WINDOW_PX"]

STRIDE_PX = 27
"""Edge of a cell: three pools of 3."""
WINDOW_PX = 189
"""What the 7x7 convolution pools over: 7 cells."""
HALO_PX = 94
"""Round a cell: 3 cells of window and 13 px of the SAME convolutions (1 + 3 + 9)."""
FIELD_PX = 215
"""STRIDE_PX + 2 * HALO_PX: every pixel that can change a cell's score."""
CHIP_PX = 21
"""Edge of the impact network's chip round a hit."""
