"""Recipes that name the papers' networks: the card they ask for."""

from pathlib import Path

import pytest

from models.networks import ADSMS_UNET, HEJMANOWSKA_UNET, RESNET34_UNET
from scanner.errors import InputError
from scanner.run.draft import draft_of
from scanner.run.recipe import ChipsFile, Recipe


def make_recipe(network: str, window_px: int, **changes) -> Recipe:
    values = {
        "name": "paper", "task": "detector", "level": "l2a", "bands": ("B04", "B03", "B02", "B08"), "limits": "",
        "origin": "", "network": network, "window_px": window_px, "chips": ChipsFile(file=Path("chips.zarr")),
    }  # fmt: skip
    return Recipe(**(values | changes))


@pytest.mark.parametrize(
    ("network", "window_px", "arguments", "finer"),
    [
        (ADSMS_UNET, 128, {}, 1),
        (HEJMANOWSKA_UNET, 100, {"width": 16}, 1),
        (RESNET34_UNET, 128, {"ndvi": True}, 1),
        (RESNET34_UNET, 128, {"form": "x4-transposed"}, 4),
        (RESNET34_UNET, 128, {"form": "x4-bicubic", "ndvi": True}, 4),
    ],
)
def test_patches_of_the_papers_size(network, window_px, arguments, finer):
    card = draft_of(make_recipe(network, window_px, arguments=arguments)).card
    assert (card.mode, card.output, card.finer) == ("window", "pixels", finer)
    assert (card.window_px, card.stride_px, card.halo_px) == (window_px, window_px // 2, window_px // 4)


@pytest.mark.parametrize("network", [ADSMS_UNET, HEJMANOWSKA_UNET, RESNET34_UNET])
def test_they_run_as_windows_alone(network):
    with pytest.raises(InputError, match="use mode = 'window'"):
        draft_of(make_recipe(network, 128, mode="fcn"))


def test_a_patch_that_the_pools_do_not_divide():
    with pytest.raises(InputError, match="takes no squares of 100 px"):
        draft_of(make_recipe(ADSMS_UNET, 100))
