"""The paper's tables: parameters, shapes, TensorFlow's SAME padding."""

import numpy as np
import pytest
import torch

from models.networks import FCN, IMPACT, UNET, build
from models.networks.fcn import Fcn
from models.networks.geometry import FIELD_PX, HALO_PX, STRIDE_PX, WINDOW_PX
from models.networks.impact import ImpactCnn


@pytest.mark.parametrize(
    ("network", "bands", "classes", "parameters"),
    [
        (FCN, 12, 2, 259_810),
        (FCN, 10, 2, 259_810 - 2 * 32 * 9),
        (IMPACT, 12, 3, 2_373_219),
        (IMPACT, 13, 3, 2_373_219 + 32 * 4),
    ],
)
def test_parameters(network, bands, classes, parameters):
    net = build(network, bands=bands, classes=classes)
    assert sum(weight.numel() for weight in net.parameters()) == parameters


def test_unknown_network_names_the_known_ones():
    with pytest.raises(ValueError, match="balaniuk-fcn, balaniuk-impact"):
        build("nowhere", bands=3, classes=2)


@pytest.mark.parametrize(
    ("network", "arguments", "complaint"),
    [
        (FCN, {"width": 8}, "'balaniuk-fcn' has no argument 'width', expected: none"),
        (UNET, {"breadth": 8}, "'unet' has no argument 'breadth', expected: width, depth, finer"),
        (UNET, {"width": "wide"}, "width is 'wide', expected int"),
        (UNET, {"finer": 3}, "a power of 2"),
        (UNET, {"depth": 0}, "from 1 on"),
    ],
)
def test_arguments_that_a_network_does_not_take(network, arguments, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        build(network, bands=3, classes=2, **arguments)
    assert "\n" not in str(caught.value)


def test_the_papers_sample_gives_one_cell():
    with torch.inference_mode():
        assert Fcn(12).eval()(torch.zeros(1, 12, 201, 201)).shape == (1, 2, 1, 1)
        assert Fcn(12).eval()(torch.zeros(1, 12, 189, 216)).shape == (1, 2, 1, 2)


def test_field_of_one_cell_is_215_px():
    """The gradient of one cell of a larger image reaches 215 px and no further."""
    assert FIELD_PX == STRIDE_PX + 2 * HALO_PX == 215
    torch.manual_seed(3)
    net = Fcn(2).eval()
    image = torch.rand(1, 2, 189 + 27 * 4, 189 + 27 * 4, requires_grad=True)
    reach = torch.zeros(image.shape[2:])
    for _ in range(6):
        # Pools pass the gradient of one pixel in nine: several drawn images together reach every pixel of the rim.
        image.data = torch.rand_like(image)
        net(image)[0, 1, 2, 2].backward()
        reach += image.grad.abs().sum((0, 1))
        image.grad = None
    rows, columns = np.nonzero(reach.numpy())
    first = 2 * STRIDE_PX - (FIELD_PX - WINDOW_PX) // 2
    assert (rows.min(), columns.min()) == (first, first)
    assert (rows.max(), columns.max()) == (first + FIELD_PX - 1, first + FIELD_PX - 1)


def test_core_is_the_interior_of_the_padded_pass():
    torch.manual_seed(4)
    net = Fcn(3).eval()
    image = torch.rand(1, 3, 27 * 4 + 188, 27 * 3 + 188)
    with torch.inference_mode():
        core = net.core(image)
        # 14 px of zeros make the halo 108 = 4 x 27, so that the padded pass pools on the same lattice.
        padded = net(torch.nn.functional.pad(image, (14, 14, 14, 14)))
    assert core.shape == (1, 2, 4, 3)
    torch.testing.assert_close(core, padded[:, :, 1:-1, 1:-1], rtol=0, atol=1e-6)


def test_impact_pads_as_tensorflow_does():
    """One hand-made convolution and pool by loops: zeros right and below, the last column pooled alone."""
    torch.manual_seed(5)
    net = ImpactCnn(2, 3).eval()
    chip = torch.rand(2, 21, 21)
    weight, bias = net.conv1.weight.detach().numpy(), net.conv1.bias.detach().numpy()
    padded = np.zeros((2, 22, 22), np.float32)
    padded[:, :21, :21] = chip
    conv = np.array(
        [[(weight * padded[:, y : y + 2, x : x + 2]).sum((1, 2, 3)) + bias for x in range(21)] for y in range(21)]
    )
    pooled = np.array([[conv[y : y + 2, x : x + 2].max((0, 1)) for x in range(0, 21, 2)] for y in range(0, 21, 2)])
    expected = np.maximum(pooled, 0).transpose(2, 0, 1)

    seen = []
    net.conv2.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        net(chip[None])
    np.testing.assert_allclose(seen[0][0, :, :11, :11].numpy(), expected, atol=1e-5)
    assert seen[0].shape == (1, 32, 12, 12)  # 11 and the zeros that conv2 gets at the right and the bottom
    assert not seen[0][0, :, 11].any()


def test_dropout_only_in_training():
    net = Fcn(2)
    image = torch.rand(1, 2, 189, 189)
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(net(image), net(image))
        net.eval()
        assert torch.equal(net(image), net(image))
