"""The U-Net: its shapes, and how far a pixel of its logits sees."""

import numpy as np
import pytest
import torch

from models.networks import UNET, build
from models.networks.unet import UNet, reach_px


def test_parameters_are_those_of_the_plain_net():
    """Width 1, depth 1, by hand: two double convolutions down, one up, a batch normalisation each, the head."""
    down = (3 * 9 + 2) + (9 + 2) + (2 * 9 + 4) + (4 * 9 + 4)
    up = (2 * 4 + 1) + (2 * 9 + 2) + (9 + 2)
    net = build(UNET, bands=3, classes=2, width=1, depth=1)
    assert sum(weight.numel() for weight in net.parameters()) == down + up + (1 * 2 + 2)


@pytest.mark.parametrize(("depth", "finer"), [(1, 1), (3, 2), (4, 4)])
def test_a_logit_a_pixel_or_finer(depth, finer):
    net = UNet(2, 3, width=2, depth=depth, finer=finer).eval()
    assert net.stride_px == 2**depth
    with torch.inference_mode():
        assert net(torch.zeros(2, 2, 32, 48)).shape == (2, 3, 32 * finer, 48 * finer)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_reach_is_what_the_gradient_reaches(depth):
    torch.manual_seed(depth)
    net = UNet(2, width=4, depth=depth).double().eval()
    stride, halo = net.stride_px, net.halo_px
    first = halo + stride
    seen = np.zeros((2 * first + stride,) * 2, bool)
    for _ in range(8):
        # Pools pass the gradient of one pixel in four: several drawn images together reach every pixel of the rim.
        image = torch.rand(1, 2, *seen.shape, dtype=torch.float64, requires_grad=True)
        net(image)[..., first : first + stride, first : first + stride].abs().sum().backward()
        seen |= image.grad.abs().sum((0, 1)).numpy() > 0
    rows, columns = np.nonzero(seen)
    expected = (first - reach_px(depth), first + stride + reach_px(depth) - 1)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == expected
    assert halo % stride == 0
    assert reach_px(depth) <= halo < reach_px(depth) + stride
