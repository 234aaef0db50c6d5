"""Programs of others: exported, brought back, equal; and files that would run something are refused unopened."""

import io
import json
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models import CardError, find_card, load
from models.exporting import export_model
from models.importing.bring import bring
from models.networks import KERAS_CNN, UNET
from models.registry import save_card, save_program

FORMS = (".pt2", ".onnx")
LAYERS = (
    {"kind": "conv", "inputs": 4, "outputs": 6, "kernel": (3, 3), "padding": "same"},
    {"kind": "activation", "name": "relu"},
    {"kind": "max_pool", "size": (2, 2), "strides": (2, 2)},
    {"kind": "flatten"},
    {"kind": "dense", "inputs": 150, "outputs": 1},
)


@pytest.fixture(autouse=True)
def user_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MINESCAN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def window_card(make_card):
    """Two small networks as one window classifier of 10 px."""
    return make_card(
        name="drawn-window", mode="window", network=KERAS_CNN, arguments={"members": (LAYERS,) * 2, "ends": "sigmoid"},
        window_px=10, stride_px=6, halo_px=2, scaling="clip",
    )  # fmt: skip


@pytest.fixture
def core():
    """Reflectance of 3 x 4 cells of 27 px with 94 px of halo, a tenth of it missing."""
    rng = np.random.default_rng(8)
    pixels = rng.uniform(0, 0.5, (10, 27 * 3 + 188, 27 * 4 + 188)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    return pixels


@pytest.mark.parametrize("ending", FORMS)
def test_the_shipped_detector_goes_out_and_comes_back(tmp_path, core, ending):
    assert export_model("quarry-l2a-10band", tmp_path / f"quarry{ending}") < 1e-5
    brought = bring(tmp_path / f"quarry{ending}", "back", {})
    shipped = find_card("quarry-l2a-10band")
    for field in ("bands", "level", "mean", "std", "mode", "window_px", "stride_px", "halo_px", "classes", "threshold"):
        assert getattr(brought.card, field) == getattr(shipped, field)
    assert brought.assumed == ()
    ours, back = load("quarry-l2a-10band", "cpu"), load("back", "cpu")
    np.testing.assert_allclose(back.score_core(core), ours.score_core(core), atol=1e-5)
    # One cell alone, as a chunk's last may be.
    least = core[:, :215, :215]
    np.testing.assert_allclose(back.score_core(least), ours.score_core(least), atol=1e-5)


@pytest.mark.parametrize("ending", FORMS)
def test_windows_go_out_and_come_back(tmp_path, user_models, window_card, drawn_weights, ending):
    save_card(user_models / window_card.name, window_card, drawn_weights(window_card))
    assert export_model(window_card.name, tmp_path / f"window{ending}") < 1e-5
    back = bring(tmp_path / f"window{ending}", "back", {"threshold": 0.25}).card
    assert (back.threshold, back.form) == (0.25, {".pt2": "torch_export", ".onnx": "onnx"}[ending])
    core = np.random.default_rng(9).uniform(-0.1, 1.2, (4, 6 * 5 + 4, 6 * 7 + 4)).astype(np.float32)
    np.testing.assert_allclose(
        load("back", "cpu").score_core(core), load(window_card.name, "cpu").score_core(core), atol=1e-5
    )


@pytest.mark.parametrize("ending", FORMS)
def test_segmenters_and_judges_go_out_and_come_back(tmp_path, user_models, make_card, drawn_weights, ending):
    segmenter = make_card(
        name="pixels", output="pixels", network=UNET, arguments={"width": 2, "depth": 1}, stride_px=2, halo_px=12,
        window_px=26,
    )  # fmt: skip
    judge = make_card("impact", 4)
    rng = np.random.default_rng(10)
    core, chips = rng.uniform(0, 0.5, (4, 40, 36)).astype(np.float32), rng.uniform(0, 0.5, (3, 4, 21, 21))
    for card in (segmenter, judge):
        save_card(user_models / card.name, card, drawn_weights(card))
        assert export_model(card.name, tmp_path / f"{card.name}{ending}") < 1e-5
        bring(tmp_path / f"{card.name}{ending}", f"{card.name}-back", {})
    np.testing.assert_allclose(
        load("pixels-back", "cpu").score_core(core), load("pixels", "cpu").score_core(core), atol=1e-5
    )
    chips = chips.astype(np.float32)
    np.testing.assert_allclose(
        load(f"{judge.name}-back", "cpu").score(chips), load(judge.name, "cpu").score(chips), atol=1e-5
    )


class _Foreign(nn.Module):
    """Somebody's classifier of 8 px patches: one probability, of the mine."""

    def __init__(self, *, softmax: bool = False) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * 64, 2 if softmax else 1)
        self.dropout = nn.Dropout(0.5)
        self.softmax = softmax

    def forward(self, patches):
        numbers = self.dense(self.dropout(patches.flatten(1)))
        return torch.softmax(numbers, 1) if self.softmax else torch.sigmoid(numbers)


def _save(path: Path, net: nn.Module, *, free: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("n", min=1, max=4096)},) if free else None
    torch.export.save(torch.export.export(net, (torch.rand(2, 3, 8, 8),), dynamic_shapes=shapes), path)
    return path


SAID = {"bands": ("B02", "B03", "B04"), "level": "l1c", "classes": ("not_mine", "mine")}


@pytest.mark.parametrize("softmax", [False, True])
def test_a_foreign_program_scans(tmp_path, softmax):
    torch.manual_seed(1)
    net = _Foreign(softmax=softmax).eval()
    path = _save(tmp_path / "foreign.pt2", net)
    brought = bring(path, "foreign", SAID | {"gives": "probabilities"})
    assert (brought.card.window_px, brought.card.stride_px, brought.card.halo_px) == (8, 4, 2)
    assert brought.assumed == ("mode", "scaling", "stride_px", "threshold")
    patch = np.random.default_rng(2).uniform(0, 1, (3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(patch)[None]).numpy()[0, -1]
    np.testing.assert_allclose(load("foreign", "cpu").score_core(patch)[1], expected, atol=1e-6)


def _refused(path: Path, *words: str, **changes) -> None:
    with pytest.raises(CardError) as caught:
        bring(path, "refused", SAID | changes)
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in (path.name, *words)), said


def test_programs_that_do_not_fit(tmp_path):
    plain = _save(tmp_path / "plain.pt2", _Foreign().eval())
    with pytest.raises(CardError, match=r"give --bands, --level, --classes$"):
        bring(plain, "refused", {})
    _refused(plain, "takes 3 bands, got 2", bands=("B02", "B03"))
    _refused(plain, "(2, 1)", "(2, 3)", "--classes", classes=("a", "b", "c"))
    _refused(plain, "window of 10 px", window_px=10)
    _refused(_save(tmp_path / "sums.pt2", _Foreign(softmax=True).eval()), "sum to one", "--gives probabilities")
    _refused(_save(tmp_path / "fixed.pt2", _Foreign().eval(), free=False), "takes 2 patches at once")
    _refused(_save(tmp_path / "train.pt2", _Foreign().train()), "training", "eval()")


@pytest.mark.parametrize("name", ["cut.pt2", "text.pt2", "cut.onnx", "text.onnx", "empty.onnx"])
def test_files_that_are_not_whole(tmp_path, user_models, name, window_card, drawn_weights):
    save_card(user_models / window_card.name, window_card, drawn_weights(window_card))
    path = tmp_path / name
    export_model(window_card.name, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"not a program", "empty": b""}[path.stem])
    _refused(path)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def _changed(path: Path, change) -> Path:
    """The archive with `change(records)` done to its records, by name without the root folder."""
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"model/{name}", content)
    return path


def _program(records, change):
    program = json.loads(records["models/model.json"])
    change(program)
    records["models/model.json"] = json.dumps(program).encode()


def _pickled_weights(records, trap):
    name = "data/weights/model_weights_config.json"
    config = json.loads(records[name])
    for entry in config["config"].values():
        entry["use_pickle"] = True
    records[name] = json.dumps(config).encode()
    records["data/weights/weight_0"] = trap


def _in_graph(change):
    return lambda records, _: _program(records, change)


def _target(text):
    def change(program):
        program["graph_module"]["graph"]["nodes"][0]["target"] = text

    return _in_graph(change)


def _expression(text):
    def change(program):
        found = program["graph_module"]["graph"]["tensor_values"]["patches"]["sizes"][0]
        found["as_expr"]["expr_str"] = text

    return _in_graph(change)


def _spec(kind):
    def change(program):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        version, spec = json.loads(signature["in_spec"])
        signature["in_spec"] = json.dumps([version, spec | {"type": kind, "context": '{"x": 1}'}])

    return _in_graph(change)


HOSTILE = {
    "weights": (_pickled_weights, "pickle"),
    "legacy weights": (lambda records, trap: records.update({"data/weights/model.pt": trap}), "pickle"),
    "opaque object": (lambda records, trap: records.update({"data/constants/opaque_obj_0": trap}), "opaque_obj_0"),
    "compiled code": (lambda records, trap: records.update({"data/aotinductor/model/a.so": trap}), "aotinductor"),
    "target": (_target("torch.os.system"), "torch.os.system"),
    "file": (_target("torch.ops.aten.from_file.default"), "from_file"),
    "shape": (_expression("__import__('os').system('true')"), "expr_str"),
    "shape's attribute": (_expression("Symbol('s1').func"), "expr_str"),
    "tree": (_spec("collections.defaultdict"), "in_spec"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_run_something_is_refused(tmp_path, kind):
    change, word = HOSTILE[kind]
    trap = pickle.dumps(_Trap(tmp_path / "sprung"))
    path = _changed(_save(tmp_path / "hostile.pt2", _Foreign().eval()), lambda records: change(records, trap))
    _refused(path, word)
    assert not (tmp_path / "sprung").exists()


def test_samples_and_guards_are_dropped_unread(tmp_path):
    """Every file of torch.export.save holds pickled samples; and code for guards, which torch would execute."""
    path = _save(tmp_path / "samples.pt2", _Foreign().eval())

    def change(records):
        records["data/sample_inputs/model.pt"] = pickle.dumps(_Trap(tmp_path / "sprung"))
        _program(records, lambda program: program.update(guards_code=[f"open({str(tmp_path / 'sprung')!r}, 'w')"]))

    brought = bring(_changed(path, change), "clean", SAID | {"gives": "probabilities"})
    load("clean", "cpu").score_core(np.zeros((3, 8, 8), np.float32))
    assert not (tmp_path / "sprung").exists()
    with zipfile.ZipFile(brought.folder / "program.pt2") as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert records["data/sample_inputs/model.pt"] == b""
    assert json.loads(records["models/model.json"])["guards_code"] == []


def _onnx(path: Path, location: str) -> np.ndarray:
    """A linear classifier of 8 px patches that keeps its weights beside itself; its weights, (192, 2)."""
    weights = np.random.default_rng(3).normal(0, 0.1, (192, 2)).astype(np.float32)
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["patches"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "weights"], ["numbers"]),
        ],
        "linear",
        [onnx.helper.make_tensor_value_info("patches", floats, ["n", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("numbers", floats, ["n", 2])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    text = path.read_bytes()
    path.write_bytes(text.replace(b"net.data", location.encode()))
    return weights


def test_onnx_weights_in_another_file_are_taken_in(tmp_path):
    weights = _onnx(tmp_path / "net.onnx", "net.data")
    brought = bring(tmp_path / "net.onnx", "linear", SAID)
    (tmp_path / "net.data").unlink()
    patch = np.random.default_rng(4).uniform(0, 1, (3, 8, 8)).astype(np.float32)
    numbers = patch.ravel() @ weights
    expected = np.exp(numbers) / np.exp(numbers).sum()
    np.testing.assert_allclose(load("linear", "cpu").score_core(patch)[:, 0, 0], expected, atol=1e-6)
    assert {path.name for path in brought.folder.iterdir()} == {"card.json", "program.onnx"}


def test_onnx_weights_elsewhere_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    _onnx(folder / "net.onnx", "net.data")
    whole = (folder / "net.onnx").read_bytes()
    (folder / "net.data").rename(tmp_path / "gone.bin")
    _refused(folder / "net.onnx", "net.data")
    # A path of the same length: the field that holds it says how long it is.
    (tmp_path / "gone.bin").rename(tmp_path / "g.bin")
    (folder / "net.onnx").write_bytes(whole.replace(b"net.data", b"../g.bin"))
    _refused(folder / "net.onnx", "not a whole ONNX file")
    # A card's own file must be whole, even where what it names lies in the working directory.
    card = find_card("quarry-l2a-10band")
    card = replace(
        card, name="outside", form="onnx", bf16=False, bands=SAID["bands"], mean=(0.0,) * 3, std=(1.0,) * 3,
        mode="window", window_px=8, stride_px=4, halo_px=2,
    )  # fmt: skip
    save_program(tmp_path / "outside", card, whole)
    (tmp_path / "g.bin").rename(tmp_path / "outside" / "net.data")
    monkeypatch.chdir(tmp_path / "outside")
    with pytest.raises(CardError, match="another file"):
        load(tmp_path / "outside", "cpu")


def test_a_checkpoint_called_pt2_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    (tmp_path / "checkpoint.pt2").write_bytes(buffer.getvalue())
    _refused(tmp_path / "checkpoint.pt2", "pickle", "safetensors")


def test_a_changed_program_is_refused(tmp_path):
    brought = bring(_save(tmp_path / "a.pt2", _Foreign().eval()), "a", SAID | {"gives": "probabilities"})
    program = brought.folder / "program.pt2"
    program.write_bytes(program.read_bytes() + b" ")
    with pytest.raises(CardError, match=r"sha256 .* expected"):
        load("a", "cpu")


@pytest.mark.parametrize("name", ["model.pt", "model", "model.h5"])
def test_exports_have_two_endings(tmp_path, name):
    with pytest.raises(CardError, match=r"\.pt2 .* or \.onnx"):
        export_model("quarry-l2a-10band", tmp_path / name)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CardError, match=r"pip install 'minescan\[onnx\]'"):
        export_model("demo-impact-l2a-12band", tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"")
    _refused(tmp_path / "b.onnx", "pip install 'minescan[onnx]'")
