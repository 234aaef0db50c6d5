"""Commands of `minescan` that have a room of their own; `scanner.cli` holds the rest and puts all together."""
