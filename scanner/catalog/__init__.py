"""STAC in, scenes out."""

from scanner.catalog.search import DEFAULT_CATALOG, Findings, SceneQuery, Skipped, find, search

__all__ = ["DEFAULT_CATALOG", "Findings", "SceneQuery", "Skipped", "find", "search"]
