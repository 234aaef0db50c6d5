"""Room of minescan."""
