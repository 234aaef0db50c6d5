"""The recipes of the documentation: each is read and becomes a card-to-be."""

from pathlib import Path

import pytest

from scanner.run.draft import draft_of
from scanner.run.recipe import read_recipe

RECIPES = sorted((Path(__file__).resolve().parents[3] / "docs" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_documentation_can_be_followed(path):
    recipe = read_recipe(path)
    assert draft_of(recipe).card.classes == recipe.classes
    page = {
        "demo-points": "training.md",
        "quarry-l2a-10band": "training.md",
        "national-detector": "recipes/national-detector.md",
    }
    said = (path.parents[1] / page.get(path.stem, "recipes/balaniuk.md")).read_text()
    assert path.stem in said
