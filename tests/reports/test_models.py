"""Models as people bring them: what their files say, what their weights don't, and how their pixels are prepared."""

import json
import pickle
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import shiftlab
from shiftlab.audits import adapters
from shiftlab.audits.adapters import ModelOptions, library
from shiftlab.audits.images import PreparedImages, load_images
from shiftlab.audits.model import Model, PreprocessedModel, output_type
from shiftlab.audits.modules import from_module, select_weights
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.cli import app
from shiftlab.config.audit import CommandOptions, PreprocessingHints
from shiftlab.errors import UserError
from tests.audits.models import Plain, data

SIZES = [(97, 131), (300, 201), (250, 250), (61, 400)]  # heights and widths, odd and even, both ways


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Images in colour, and one in grey."""
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(SIZES):
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        paths.append(tmp_path / "photographs" / f"{number}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        (picture.convert("L") if number == 3 else picture).save(paths[-1])
    return paths


def assert_inputs(
    hints: PreprocessingHints, transform: Any, photographs: list[Path], places: Iterable[int] | None = None
) -> None:
    """Compare inputs under no shift with those of a library's own transform, bit for bit."""
    preprocessing = Preprocessing.of(hints, None)
    prepared = PreparedImages(load_images(str(photographs[0].parent)), preprocessing)
    for place in range(len(photographs)) if places is None else places:
        path = photographs[place]
        expected = transform(Image.open(path).convert("RGB"))
        assert torch.equal(preprocessing(prepared.at([place], 0))[0], expected), (path, str(preprocessing))


def timm_configurations() -> list[dict[str, Any]]:
    """Return every distinct preprocessing in timm's registry."""
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'shiftlab[timm]'")
    from timm.data.config import resolve_data_config

    distinct: dict[str, dict[str, Any]] = {}
    for name in timm.list_models(pretrained=True):
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        distinct.setdefault(str(config), config)
    return list(distinct.values())


def assert_timms_inputs(config: dict[str, Any], photographs: list[Path], places: Iterable[int] | None = None) -> None:
    from timm.data.transforms_factory import create_transform

    assert_inputs(library.hints_of_timm(config), create_transform(**config), photographs, places)


@pytest.mark.parametrize(
    ("sides", "share", "mode", "interpolation"),
    [
        ((224, 224), 0.875, "center", "bicubic"),
        ((225, 225), 0.9, "center", "bilinear"),  # odd margins
        ((98, 98), 1.15, "center", "bicubic"),  # images smaller than what is cut from them, as volo_d4_448 has it
        ((96, 64), 0.9, "center", "bicubic"),
        ((192, 192), 0.9, "squash", "bicubic"),
        ((96, 64), 1.0, "squash", "bilinear"),
        ((97, 97), 1.0, "border", "bicubic"),
        ((97, 97), 0.8, "border", "bilinear"),
    ],
)
def test_each_crop_mode_of_timm_gives_timms_own_inputs(
    sides: tuple[int, int], share: float, mode: str, interpolation: str, photographs: list[Path]
) -> None:
    pytest.importorskip("timm", reason="timm is not installed: pip install 'shiftlab[timm]'")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    config = {"input_size": (3, *sides), "crop_pct": share, "crop_mode": mode, "interpolation": interpolation}
    assert_timms_inputs({**config, "mean": mean, "std": std}, photographs)


@pytest.mark.slow
def test_every_preprocessing_in_timms_registry_is_timms_own(photographs: list[Path]) -> None:
    for number, config in enumerate(timm_configurations()):
        assert_timms_inputs(config, photographs, [number % len(photographs)])


def test_torchvision_names_see_torchvisions_own_inputs(photographs: list[Path]) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    presets = pytest.importorskip("torchvision.transforms._presets")
    distinct = {}
    for name in models.list_models():
        for weights in models.get_model_weights(name):
            if isinstance(transform := weights.transforms(), presets.ImageClassification):
                distinct[str(transform)] = transform
    assert len(distinct) > 20
    for transform in distinct.values():
        assert_inputs(library.hints_of_torchvision(transform), transform, photographs)


IMAGES, LABELS = data().test.images.numpy()[:60], data().test.labels.numpy()[:60]
FEW: dict[str, Any] = {"mean": [0.1307], "std": [0.3081], "radius": 1, "boundaries": ["zero"], "count": 20}
COEFFICIENTS = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments, "--radius", "2", "--boundary", "zero", "--shifts", "all"])


def save_linear(path: Path, coefficients: NDArray[np.float32] = COEFFICIENTS, kind: int = TensorProto.UINT8) -> None:
    """Save a linear classifier of raw grey pixels, whose coefficients lie in a file of their own."""
    path.parent.mkdir(exist_ok=True)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "coefficients"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", kind, ["images", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", 10])
    graph = helper.make_graph(nodes, "linear", [images], [logits])
    graph.initializer.append(numpy_helper.from_array(coefficients, "coefficients"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="coefficients.bin", size_threshold=100)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Path:  # noqa: ARG001
    """A working directory with unlabelled images."""
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=IMAGES)
    return tmp_path


def consistency(coefficients: NDArray[np.float32]) -> float:
    """Return the share of pairs of the 25 shifts that a linear classifier of raw pixels predicts alike."""
    padded = np.pad(IMAGES[:, 0], ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    shifted = [padded[:, y : y + 28, x : x + 28].reshape(-1, 784) for y in range(5) for x in range(5)]
    predicted = np.stack([(pixels @ coefficients).argmax(1) for pixels in shifted])
    pairs = [(predicted[first] == predicted[second]).mean() for first in range(25) for second in range(first)]
    return float(np.mean(pairs))


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "1/256": lambda shares: (shares * 256).round() / 256,
    "1/100": lambda shares: (shares * 100).round() / 100,
    "bfloat16": lambda shares: shares.bfloat16(),
    "float16": lambda shares: shares.half(),
}
PIXELS = Preprocessing.of(PreprocessingHints(channels="grey", mean=(0.1307,), std=(0.3081,)), (1, 28, 28))


def confidence(model: Model) -> NDArray[np.float64]:
    """Return the largest probability of each image."""
    preprocessed = PreprocessedModel(model, PIXELS).eval()
    with torch.inference_mode():
        return preprocessed(torch.from_numpy(IMAGES)).double().softmax(1).amax(1).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounded_probabilities_are_taken_for_probabilities(rounding: str) -> None:
    network = Plain().eval()

    def answer(batch: Tensor) -> Tensor:
        return ROUNDINGS[rounding](network(batch).softmax(1))

    with torch.inference_mode():
        shares = answer(PIXELS(torch.from_numpy(IMAGES))).double().numpy()
    expected = (shares / shares.sum(1, keepdims=True)).max(1)
    assert np.allclose(confidence(Model("rounded", "python", answer)), expected, atol=1e-6)
    assert confidence(Model("rounded", "python", answer, output_type="logits")).max() < 0.3


def test_audit_says_what_outputs_are_taken_for() -> None:
    network = Plain().eval()
    result = shiftlab.audit(lambda batch: ROUNDINGS["1/256"](network(batch).softmax(1)), IMAGES, LABELS, **FEW)
    assert result.metadata["model"]["output_type"] == "probabilities"
    numbers = result.images.numbers
    mean = confidence(Model("exact", "python", network))[numbers].mean()
    assert result.predictions["zero"].sets["clean"].confidence.mean() == pytest.approx(mean, abs=0.01)


def test_logits_are_taken_for_logits_and_negative_probabilities_refused() -> None:
    rng = torch.Generator().manual_seed(0)
    marks = torch.eye(10).roll(1, 0) + torch.eye(10)  # several of 0 and 1 a row
    for rows in (torch.randn(32, 10, generator=rng), torch.rand(32, 10, generator=rng), torch.eye(10) * 2, marks):
        assert output_type(rows) == "logits"
    assert output_type(torch.eye(10)) == "probabilities"
    with pytest.raises(UserError, match="which is no probability: audit it with --outputs logits"):
        shiftlab.audit(Plain(), IMAGES, LABELS, outputs="probabilities", **FEW)


def test_onnx_file_that_takes_bytes_gets_bytes_without_labels(here: Path) -> None:
    save_linear(here / "model.onnx")
    done = typed("model.onnx", "--data", "images.npz", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["metrics"]["zero"]["consistency"]["value"] == pytest.approx(consistency(COEFFICIENTS), abs=1e-6)
    assert (summary["preprocessing"]["dtype"], summary["preprocessing"]["white"]) == ("uint8", 255)
    wrong = typed("model.onnx", "--data", "images.npz", "--range", "1")
    assert wrong.exit_code == 2
    assert "takes whole numbers of type uint8" in wrong.stderr
    assert "--range 255 --mean 0 --std 1" in wrong.stderr


def test_int8_inputs_are_asked_about(here: Path) -> None:
    save_linear(here / "model.onnx", kind=TensorProto.INT8)
    assert "--mean" in typed("model.onnx", "--data", "images.npz").stderr
    done = typed("model.onnx", "--data", "images.npz", "--range", "255", "--mean", "128", "--std", "1", "--json")
    assert json.loads(done.stdout)["preprocessing"]["dtype"] == "int8"
    raw = typed("model.onnx", "--data", "images.npz", "--range", "255", "--mean", "0", "--std", "1")
    assert "takes whole numbers of type int8, and its inputs go from 0 to 255" in raw.stderr


def test_exported_program_of_bytes_says_so(tmp_path: Path) -> None:
    class OfBytes(Plain):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.float() / 255)

    program = torch.export.export(OfBytes().eval(), (torch.zeros(2, 1, 28, 28, dtype=torch.uint8),))
    torch.export.save(program, tmp_path / "model.pt2")
    model = adapters.load(str(tmp_path / "model.pt2"), ModelOptions())
    assert (model.dtype, model.hints.white, model.hints.mean) == (torch.uint8, 255, (0.0,))


def test_constant_answers_are_refused() -> None:
    def truncating(batch: Tensor) -> Tensor:
        return batch.to(torch.uint8).float().flatten(1) @ torch.from_numpy(COEFFICIENTS)

    for labels in (None, LABELS):
        with pytest.raises(UserError, match="answers 20 different images alike, to the last digit"):
            shiftlab.audit(truncating, IMAGES, labels, **{**FEW, "mean": [0], "std": [1.5]})


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_model_is_audited_as_it_is(kind: torch.dtype) -> None:
    network = deepcopy(Plain()).eval().to(kind)
    model = from_module(network, "half", "python", ModelOptions())
    assert model.dtype == kind
    assert next(network.parameters()).dtype == kind  # a training may go on with it
    assert np.allclose(confidence(model), confidence(Model("whole", "python", Plain().eval())), atol=0.03)


def test_weights_do_not_tell_transform_input(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    trained = torchvision.models.get_model("googlenet", weights=None, init_weights=False, transform_input=True).eval()
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    options = ModelOptions(weights=tmp_path / "weights.pth", arguments={"init_weights": False})
    plain = adapters.load("torchvision:googlenet", options)
    assert plain.notes == ("weights do not tell transform_input, which is False here: --model-args says otherwise",)
    said = adapters.load(
        "torchvision:googlenet",
        ModelOptions(weights=tmp_path / "weights.pth", arguments={"init_weights": False, "transform_input": True}),
    )
    inputs = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(said.outputs(inputs), trained(inputs))  # type: ignore[arg-type]
        assert not torch.allclose(plain.outputs(inputs), trained(inputs))  # type: ignore[arg-type]
    assert said.notes == ()
    assert said.digest != plain.digest
    with pytest.raises(UserError, match="can't be built with depth=3"):
        adapters.load("torchvision:googlenet", ModelOptions(arguments={"depth": 3}))


CODE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Settings:
    classes: int = 10

def build(classes: int, **settings):
    import neighbour
    return neighbour.network(Settings(classes).classes)
"""


def test_model_file_with_a_dataclass_takes_arguments_that_are_recorded(here: Path) -> None:
    folder = here / "code"
    folder.mkdir()
    (folder / "json.py").write_text(CODE)  # named as a library
    (folder / "neighbour.py").write_text(
        "from torch import nn\ndef network(classes): return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))\n"
    )
    address, pixels = "code/json.py:build", ["--channels", "grey", "--mean", "0", "--std", "1"]
    done = typed(address, "--data", "images.npz", *pixels, "--model-args", "classes=7", "--model-args", "name=x")
    assert done.exit_code == 0, done.output
    assert "arguments {'classes': 7, 'name': 'x'}" in done.stderr
    (audit,) = Path("audits").iterdir()
    summary = json.loads((audit / "metrics.json").read_text())
    assert (summary["model"]["outputs"], summary["model"]["arguments"]) == (7, {"classes": 7, "name": "x"})
    assert "its arguments" in (audit / "report.html").read_text()
    save_linear(here / "model.onnx")
    refused = typed("model.onnx", "--data", "images.npz", "--model-args", "classes=7")
    assert "--model-args is for timm:NAME, torchvision:NAME and your own functions" in refused.stderr


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    module: nn.Module = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=3)
    return module


def load_checkpoint(content: object, path: Path, key: str | None = None) -> dict[str, Tensor]:
    torch.save(content, path)
    options = ModelOptions(weights=path, weights_key=key, notes=False)
    module = adapters.load("torchvision:shufflenet_v2_x0_5", options).module
    assert module is not None
    return module.state_dict()


@pytest.mark.parametrize("before", ["model.", "module._orig_mod.", "_orig_mod.module.model.", "net.encoder."])
def test_prefixes_of_wrappers_are_taken_off_in_any_order(before: str, network: nn.Module, tmp_path: Path) -> None:
    weights = network.state_dict()
    prefixed = {f"{before}{name}": value for name, value in weights.items()}
    lightning = {"state_dict": {**prefixed, "loss.weight": torch.ones(3)}, "epoch": 3, "optimizer_states": [{}]}
    for content in (prefixed, lightning, {"model_state_dict": prefixed}):
        loaded = load_checkpoint(content, tmp_path / "weights.pth")
        assert all(torch.equal(value, weights[name]) for name, value in loaded.items())


@pytest.mark.parametrize(
    ("first", "second"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("params", "params_ema")]
)
def test_two_sets_of_weights_are_asked_about(first: str, second: str, network: nn.Module, tmp_path: Path) -> None:
    weights = network.state_dict()
    average = {f"module.{name}": value + 1 for name, value in weights.items()}
    content, path = {first: weights, second: average, "epoch": 3}, tmp_path / "checkpoint.pth"
    with pytest.raises(
        UserError, match=rf"holds 2 sets of weights \({first}, {second}.module\): name one with --weights-key"
    ):
        load_checkpoint(content, path)
    with pytest.raises(UserError, match="no sets of weights named teacher"):
        load_checkpoint(content, path, "teacher")
    assert torch.equal(load_checkpoint(content, path, first)["fc.bias"], weights["fc.bias"])
    assert torch.equal(load_checkpoint(content, path, second)["fc.bias"], weights["fc.bias"] + 1)


def test_old_names_of_densenet_are_todays() -> None:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    with torch.device("meta"):
        weights = torchvision.models.densenet121(weights=None).state_dict()
    inner = re.compile(r"(denselayer\d+\.(?:norm|conv))([12]\.)")
    old = {inner.sub(r"\1.\2", name): value for name, value in weights.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert list(select_weights(old, weights, None, Path("weights.pth"))[0]) == list(weights)


def test_digest_of_an_onnx_model_covers_its_external_data_and_nodes_get_it(tmp_path: Path) -> None:
    digests = set()
    for name, factor in (("v1", 1), ("v2", -1)):
        save_linear(tmp_path / name / "model.onnx", COEFFICIENTS * np.float32(factor))
        (tmp_path / name / "other.bin").write_bytes(name.encode())
        digests.add(adapters.load(str(tmp_path / name / "model.onnx"), ModelOptions()).digest)
    assert len(digests) == 2
    address = str(tmp_path / "v1" / "model.onnx")
    preprocessing = Preprocessing.of(adapters.load(address, ModelOptions()).hints, None)
    load = pickle.dumps(adapters.remote_loader(address, ModelOptions(), preprocessing, "logits"))
    (tmp_path / "v1").rename(tmp_path / "elsewhere")
    logits = pickle.loads(load)()(torch.from_numpy(IMAGES))
    assert np.allclose(logits.numpy(), IMAGES.reshape(-1, 784) @ COEFFICIENTS, rtol=1e-4, atol=0.1)


def test_audits_of_v1_and_v2_lie_apart_and_overwrite_nothing(here: Path) -> None:
    for name, factor in (("v1", 1), ("v2", -1)):
        save_linear(here / name / "model.onnx", COEFFICIENTS * np.float32(factor))
        assert typed(f"{name}/model.onnx", "--data", "images.npz").exit_code == 0
    assert {path.name for path in Path("audits").iterdir()} == {"v1-model", "v2-model"}
    before = Path("audits/v1-model/metrics.json").read_bytes()
    assert json.loads(before)["model"]["name"] == "v1/model.onnx"
    other = typed("v2/model.onnx", "--data", "images.npz", "--out", "audits/v1-model")
    assert other.exit_code == 2
    assert "audits/v1-model holds the audit of another model (name v1/model.onnx, kind onnx)" in other.stderr
    assert Path("audits/v1-model/metrics.json").read_bytes() == before
    assert typed("v1/model.onnx", "--data", "images.npz").exit_code == 0


def test_one_timm_name_with_two_weight_files_has_two_folders(here: Path) -> None:
    places = [here / "runs" / name for name in ("first.pth", "second.pth")]
    places[0].parent.mkdir()
    for path in places:
        path.touch()
    options = [CommandOptions(model="timm:resnet18", data="digits", weights=path) for path in places]
    folders = [str(option.folder) for option in options]
    assert folders == ["audits/timm-resnet18-runs-first", "audits/timm-resnet18-runs-second"]
