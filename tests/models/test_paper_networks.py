"""The papers' networks: parameters by hand or as published, shapes, gates, and that each learns."""

import dataclasses
import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from models.card import ModelCard
from models.infer import open_model
from models.networks import ADSMS_UNET, ENCODER_UNET, HEJMANOWSKA_UNET, RESNET34_UNET, UNET, build
from models.networks.blocks import AttentionGate
from models.networks.encoder_unet import BACKBONES, EncoderUNet
from models.networks.hejmanowska_unet import _as_large
from models.networks.resnet34_unet import FORMS, ResNet34, ResNet34UNet
from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT
from models.training.patches import train_patches
from models.training.samples import of_chips
from models.training.split import Fold
from models.training.transfer import Start


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """These networks are too small for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def count(net: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def on_paper(network: str, **arguments) -> torch.nn.Module:
    with torch.device("meta"):
        return build(network, **arguments)


def conv(before: int, after: int, edge: int = 3, bias: int = 0) -> int:
    return before * after * edge**2 + bias * after


def block(before: int, after: int, convs: int) -> int:
    """Convolutions without bias, a slope and a shift a map after each."""
    return conv(before, after) + (convs - 1) * conv(after, after) + convs * 2 * after


def test_navas_unet_is_the_plain_one_of_width_16():
    """Ronneberger's layout (31 million at width 64) with 16 maps and four bands."""
    widths = [16, 32, 64, 128, 256]
    down = sum(block(before, after, 2) for before, after in zip([4, *widths[:-1]], widths, strict=True))
    steps = list(zip(widths[1:], widths[:-1], strict=True))
    up = sum(conv(deep, shallow, 2, 1) + block(2 * shallow, shallow, 2) for deep, shallow in steps)
    assert count(on_paper(UNET, bands=4, classes=2, width=16)) == down + up + conv(16, 2, 1, 1)


def test_adsms_adds_scales_gates_and_heads():
    """To the plain one: a convolution of the image at three levels, three gates, a head at each level."""
    plain = count(on_paper(UNET, bands=4, classes=2, width=16, depth=4))
    scales = sum(conv(4, maps, 3, 1) + conv(maps, maps) for maps in (32, 64, 128))
    gates = 0
    for skip, deep in ((128, 256), (64, 128), (32, 64)):
        signal = conv(deep, deep, 1) + 2 * deep + conv(deep, skip, 1)
        gates += signal + conv(skip, skip, 2, 1) + conv(skip, 1, 1, 1) + conv(skip, skip, 1) + 2 * skip
    heads = sum(conv(maps, 2, 1, 1) for maps in (32, 64, 128))
    assert count(on_paper(ADSMS_UNET, bands=4, classes=2)) == plain + scales + gates + heads


def test_hejmanowskas_blocks_have_three_convolutions():
    widths = [64, 128, 256, 512, 1024]
    down = sum(block(before, after, 3) for before, after in zip([10, *widths[:-1]], widths, strict=True))
    steps = list(zip(widths[1:], widths[:-1], strict=True))
    up = sum(conv(deep, shallow, 2, 1) + block(2 * shallow, shallow, 3) for deep, shallow in steps)
    assert count(on_paper(HEJMANOWSKA_UNET, bands=10, classes=10)) == down + up + conv(64, 10, 1, 1)


def test_resnet34_has_its_published_parameters():
    """21,797,672 less the 1000 classes; in a U-Net of common libraries 24,436,369 at three bands and one class."""
    with torch.device("meta"):
        assert count(ResNet34(3)) == 21_797_672 - 512 * 1000 - 1000
        assert count(ResNet34UNet(3, 1)) == 24_436_369
        five = count(ResNet34UNet(4, 1, ndvi=True))
        assert five == 24_436_369 + 2 * conv(1, 64, 7)
        assert count(ResNet34UNet(4, 1, form="x4-bicubic", ndvi=True)) == five
        assert count(ResNet34UNet(4, 1, form="x4-transposed", ndvi=True)) == five + 2 * conv(16, 16, 2, 1)


@pytest.mark.parametrize("form", FORMS)
def test_roads_at_one_and_four_times(form):
    net = ResNet34UNet(4, 2, width=4, form=form, ndvi=True).eval()
    finer = 1 if form == "x1" else 4
    with torch.inference_mode():
        assert net(torch.rand(1, 4, 64, 32)).shape == (1, 2, 64 * finer, 32 * finer)
        assert net(torch.rand(1, 4, 50, 50)).shape == (1, 2, 50 * finer, 50 * finer)


def test_ndvi_is_the_fifth_channel():
    """With weights that see NDVI alone, scaling red and near infrared alike changes nothing; missing is zero."""
    net = ResNet34UNet(4, width=4, ndvi=True).eval()
    seen = []
    net.encoder.first_derived.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1).repeat(1, 1, 32, 32)
    image[..., 5, 6] = 0
    with torch.inference_mode():
        net(image)
    expected = torch.full((1, 1, 32, 32), 0.6)
    expected[..., 5, 6] = 0
    torch.testing.assert_close(seen[0], expected)


def test_odd_patches_come_back_whole():
    net = build(HEJMANOWSKA_UNET, bands=10, classes=10, width=2).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 10, 100, 100)).shape == (1, 10, 100, 100)
        assert net(torch.zeros(1, 10, 37, 21)).shape == (1, 10, 37, 21)
    pad = _as_large(torch.arange(4.0).view(1, 1, 2, 2), torch.zeros(1, 1, 3, 3))
    assert pad[0, 0].tolist() == [[0, 1, 1], [2, 3, 3], [2, 3, 3]]


def test_a_gate_by_hand():
    """One map each: relu(1 + 2 + 3 + 4 + 0.5 * 2) = 11 of the signal 2, a share sigmoid(11 / 10 - 1) of the skip."""
    gate = AttentionGate(1, 1).double().eval()
    skip = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64).view(1, 1, 2, 2)
    with torch.no_grad():
        for weight in gate.parameters():
            weight.fill_(1)
        gate.of_signal.weight.fill_(0.5)
        gate.of_skip.bias.fill_(0)
        gate.share.weight.fill_(0.1)
        gate.share.bias.fill_(-1)
        for norm in (gate.signal[1], gate.out[1]):
            norm.eps = 0
            norm.bias.fill_(0)
        given = gate(skip, torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64))
        shut = gate(skip, torch.full((1, 1, 1, 1), -3.0, dtype=torch.float64))
    torch.testing.assert_close(given, skip / (1 + math.exp(-0.1)))
    torch.testing.assert_close(shut, skip / (1 + math.exp(0.0)))


def test_all_levels_speak_in_training_and_one_after():
    net = build(ADSMS_UNET, bands=4, classes=2, width=2, depth=4)
    image = torch.rand(2, 4, 48, 32)
    given = net(image)
    assert [tuple(one.shape) for one in given] == [(2, 2, 48 // by, 32 // by) for by in (8, 4, 2, 1)]
    sum(one.sum() for one in given).backward()
    assert all(weight.grad is not None for weight in net.parameters())
    with torch.inference_mode():
        assert net.eval()(image).shape == (2, 2, 48, 32)


def test_every_scale_of_the_image_is_seen():
    """What only the pyramid's convolution of a level lets through changes the logits."""
    net = build(ADSMS_UNET, bands=1, classes=2, width=2, depth=3).eval()
    image = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        before = net(image)
        for scale in net.scales:
            kept = scale.weight.clone()
            scale.weight += 1
            assert not torch.equal(net(image), before)
            scale.weight.copy_(kept)


@pytest.mark.parametrize(
    ("network", "arguments", "complaint"),
    [
        (ADSMS_UNET, {"width": 0}, "must be 1 or more"),
        (HEJMANOWSKA_UNET, {"depth": 0}, "must be 1 or more"),
        (RESNET34_UNET, {"width": 6}, "multiple of 4"),
        (RESNET34_UNET, {"form": "x2"}, "one of x1, x4-transposed, x4-bicubic"),
        (RESNET34_UNET, {"ndvi": True}, "ndvi wants B04 B03 B02 B08 first, got 3 bands"),
        (RESNET34_UNET, {"ndvi": 1}, "ndvi is 1, expected bool"),
        (ENCODER_UNET, {"backbone": "vgg"}, "one of vgg19, resnet50, inception_v3"),
    ],
)
def test_arguments_that_cannot_be(network, arguments, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        build(network, bands=3, classes=2, **arguments)
    assert "\n" not in str(caught.value)


# Learning ------------------------------------------------------------------------------------------------------------

CONFIG = TrainConfig(gain=0, band_gain=0, offset=0, batch=4, average=0.5, threads=1, epochs=12, rate=1e-2, seed=1)
TVERSKY = {"loss": "focal-tversky", "gamma": 4 / 3}


def make_draft(network: str, arguments: dict, edge: int, **changes) -> ModelCard:
    bands = ("B04", "B03", "B02", "B08")
    values = {
        "name": "draft", "task": "detector", "mode": "window", "network": network, "level": "l2a", "bands": bands,
        "mean": (0.0,) * 4, "std": (1.0,) * 4, "window_px": edge, "stride_px": edge // 2, "halo_px": edge // 4,
        "output": "pixels", "arguments": arguments, "classes": ("not_mine", "mine"), "limits": "", "licence": "",
        "origin": "", "threshold": 0.5,
    }  # fmt: skip
    return ModelCard(**(values | changes))


def squares(edge: int, number: int = 16):
    """Dark chips as composites store them, each with a bright rectangle of class 1."""
    rng = np.random.default_rng(0)
    chips = rng.integers(1200, 1400, (number, 4, edge, edge)).astype(np.uint16)
    masks = np.zeros((number, edge, edge), np.int16)
    for chip, mask in zip(chips, masks, strict=True):
        row, column = rng.integers(edge // 2, size=2)
        mask[row : row + edge // 2, column : column + edge // 3] = 1
        chip[:, mask == 1] += 2500
    boxes = np.array([(x, 0.0, x + 0.5, 0.5) for x in range(number)])
    where = (boxes, ("a",) * number, ("d",) * number)
    return of_chips(chips, np.full(number, LEFT_OUT), masks, edge_px=edge, where=where)


def learnt(draft: ModelCard, config: TrainConfig):
    samples = squares(draft.window_px)
    fold = Fold(name="once", train=np.arange(12), held_out=np.arange(12, 16), units=("rest",))
    return train_patches(draft, samples, config, fold)


@pytest.mark.parametrize(
    ("network", "arguments", "changes", "options"),
    [
        (UNET, {"width": 4, "depth": 2}, {"scaling": "patch"}, TVERSKY),
        (ADSMS_UNET, {"width": 8, "depth": 2}, {"scaling": "patch"}, TVERSKY | {"epochs": 20}),
        (HEJMANOWSKA_UNET, {"width": 4, "depth": 2}, {}, {"loss": "focal", "amp": True}),
        (RESNET34_UNET, {"width": 8}, {}, {"loss": "bce-dice"}),
        (RESNET34_UNET, {"width": 8, "form": "x4-transposed"}, {"finer": 4}, {"loss": "bce-dice", "epochs": 16}),
        (RESNET34_UNET, {"width": 4, "form": "x4-bicubic"}, {"finer": 4}, {"loss": "dice"}),
        (RESNET34_UNET, {"width": 8, "ndvi": True}, {"scaling": "clip"}, {"loss": "bce-dice"}),
    ],
)  # fmt: skip
def test_each_learns_bright_rectangles_and_scans_them(network, arguments, changes, options):
    draft = make_draft(network, arguments, 20 if network == HEJMANOWSKA_UNET else 32, **changes)
    trained = learnt(draft, dataclasses.replace(CONFIG, **options))
    assert trained.metrics["f1"] > 0.85
    card = dataclasses.replace(draft, mean=trained.mean, std=trained.std)
    scored = open_model(card, trained.state_dict).score(np.full((4, 40, 40), 0.02, np.float32))
    assert scored.shape[1] % (draft.stride_px * draft.finer) == 0
    assert np.isfinite(scored).all()


def test_ndvi_wants_reflectance_in_the_papers_order():
    draft = make_draft(RESNET34_UNET, {"width": 4, "ndvi": True}, 32)
    with pytest.raises(
        ValueError, match=r"expected bands B04 B03 B02 B08 first, and scaling 'clip', got .* and 'standard'"
    ):
        learnt(draft, CONFIG)


@pytest.mark.parametrize("network", [ADSMS_UNET, HEJMANOWSKA_UNET, RESNET34_UNET])
def test_another_training_begins_from_it(network):
    arguments = {"width": 4, "ndvi": True} if network == RESNET34_UNET else {"width": 2, "depth": 2}
    card = make_draft(network, arguments, 32)
    turned = dataclasses.replace(card, bands=card.bands[::-1], classes=("not_mine", "pond", "mine"))
    weights = build(network, bands=4, classes=2, **arguments).state_dict()
    net = build(network, bands=4, classes=3, **arguments)
    Start(card=card, weights=weights, draft=turned).into(net)
    first = next(name for name in weights if name.endswith("weight"))
    assert not torch.equal(net.state_dict()[first], weights[first])


# Borrowed encoders ---------------------------------------------------------------------------------------------------

with_backbones = pytest.mark.skipif(find_spec("timm") is None, reason="the extra backbones is not installed")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match=r"needs torchvision: pip install 'minescan\[backbones\]'") as caught:
        build(ENCODER_UNET, bands=4, classes=2)
    assert "\n" not in str(caught.value)


@with_backbones
@pytest.mark.parametrize(
    ("backbone", "parameters"), [("vgg19", 20_024_384), ("resnet50", 23_508_032), ("inception_v3", 21_785_568)]
)
def test_encoders_have_their_published_parameters(backbone, parameters):
    """Of ImageNet's three bands, without the head that a U-Net has no use for."""
    with torch.device("meta"):
        assert count(EncoderUNet(3, backbone=backbone).encoder) == parameters


@with_backbones
@pytest.mark.parametrize("backbone", BACKBONES)
def test_borrowed_encoders_give_a_logit_a_pixel(backbone):
    net = build(ENCODER_UNET, bands=5, classes=3, backbone=backbone).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 5, 96, 128)).shape == (1, 3, 96, 128)


@with_backbones
def test_a_borrowed_encoder_learns():
    config = dataclasses.replace(CONFIG, epochs=4, rate=1e-3)
    assert learnt(make_draft(ENCODER_UNET, {"backbone": "resnet50"}, 32), config).metrics["f1"] > 0.8
