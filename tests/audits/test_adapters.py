"""Every format gives the same metrics, prediction for prediction, as the network it was made of."""

import pickle
import re
import socket
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import uvicorn
from mlflow.models import infer_signature
from torch import nn

from shiftlab.audits import adapters
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.audit import Audit, evaluation_of, measure
from shiftlab.audits.images import Images, PreparedImages, load_images
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import AuditOptions, PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.models import weights
from shiftlab.networks.fast import fuse
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.tracking import runs
from shiftlab.tracking.serving import ServedModel, server
from shiftlab.tracking.store import connect
from tests.audits.models import Plain, trained
from tests.helpers import GREY, predict

# TorchScript is deprecated, and what people have.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

AUDIT = AuditOptions(radius=2, shifts="all")
EVALUATION = evaluation_of(AUDIT)
OPTIONS = PreprocessingHints(mean=(0.1307,), std=(0.3081,), channels="grey", frame=(28, 28))
EXAMPLE = torch.zeros(2, 1, 28, 28)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images("digits").sample(60, 0)


@pytest.fixture(scope="module")
def expected(images: Images) -> dict[str, Predictions]:
    """As the pipeline predicts."""
    from shiftlab.data.dataset import Examples

    preprocessing = Preprocessing.of(OPTIONS, GREY)
    (raw,) = PreparedImages(images, preprocessing).chunks(0, 60)
    labels = images.labels
    assert labels is not None
    found: dict[str, Predictions] = {}
    for boundary in EVALUATION.boundaries:
        metadata = PredictionMetadata("digits", "", images.classes or (), "", GREY, False, boundary, 0, 0)
        examples = Examples(raw, torch.from_numpy(labels))
        found[boundary] = predict(fuse(trained(), GREY), examples, EVALUATION, metadata)
    return found


def audited(name: str, images: Images, hints: PreprocessingHints = OPTIONS, **options: Any) -> Audit:
    model = adapters.load(name, ModelOptions(image=GREY, **options))
    return measure(model, images, Preprocessing.of(hints.merge(model.hints), GREY), AUDIT, torch.device("cpu"))


def assert_same(found: Audit, expected: dict[str, Predictions]) -> None:
    for boundary, answers in expected.items():
        here = found.predictions[boundary]
        assert np.array_equal(here.grid.predicted, answers.grid.predicted)
        assert np.array_equal(here.on_lines, answers.on_lines)
        assert np.array_equal(here.labels, answers.labels)
        for name, one in answers.sets.items():
            assert np.array_equal(here.sets[name].shifts, one.shifts)
            assert np.array_equal(here.sets[name].predicted, one.predicted)
            assert np.allclose(here.sets[name].confidence, one.confidence, atol=1e-4)


@pytest.fixture
def own(tmp_path: Path) -> str:
    weights.save(trained().state_dict(), "small", tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


@pytest.fixture
def torchscript(tmp_path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Plain().eval(), EXAMPLE).save(str(tmp_path / "model.pt"))
    return str(tmp_path / "model.pt")


@pytest.fixture
def exported(tmp_path: Path) -> str:
    free = {"images": {0: torch.export.Dim("images")}}
    torch.export.save(torch.export.export(Plain().eval(), (EXAMPLE,), dynamic_shapes=free), tmp_path / "model.pt2")
    return str(tmp_path / "model.pt2")


def as_onnx(path: Path, images: int, free: bool) -> str:
    axes = {"images": {0: torch.export.Dim("images")}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Plain().eval(), (EXAMPLE[:images],), path, dynamic_shapes=axes, dynamo=True, verbose=False)
    return str(path)


@pytest.fixture
def onnx(tmp_path: Path) -> str:
    return as_onnx(tmp_path / "model.onnx", 2, free=True)


@pytest.fixture
def python(tmp_path: Path) -> str:
    (tmp_path / "brought.py").write_text("from tests.audits.models import build\n")
    return f"{tmp_path / 'brought.py'}:build"


@pytest.mark.parametrize("kind", ["own", "torchscript", "exported", "onnx", "python"])
def test_format_gives_the_pipelines_predictions(
    kind: str, request: pytest.FixtureRequest, images: Images, expected: dict[str, Predictions]
) -> None:
    assert_same(
        audited(request.getfixturevalue(kind), images, PreprocessingHints() if kind == "own" else OPTIONS), expected
    )


def test_module_is_named_by_its_dotted_name(images: Images, expected: dict[str, Predictions]) -> None:
    assert_same(audited("tests.audits.models:build", images), expected)


def test_onnx_that_takes_one_image_at_a_time(tmp_path: Path, images: Images) -> None:
    found = audited(
        as_onnx(tmp_path / "one.onnx", 1, free=False), images.sample(30, 1), PreprocessingHints().merge(OPTIONS)
    )
    assert found.metric("clean").images == 30
    assert adapters.load(str(tmp_path / "one.onnx"), ModelOptions()).batch == 1


def test_shape_of_an_onnx_input_tells_what_it_can(onnx: str) -> None:
    known = adapters.load(onnx, ModelOptions()).hints
    assert (known.channels, known.frame, known.layout, known.mean) == ("grey", (28, 28), "nchw", None)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield tmp_path
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_models_in_mlflow_of_three_flavours(onnx: str, images: Images, expected: dict[str, Predictions]) -> None:
    import onnx as onnx_library

    signature = infer_signature(EXAMPLE.numpy(), np.zeros((2, 10), np.float32))
    with mlflow.start_run():
        mlflow.pytorch.log_model(
            Plain().eval(),
            name="exported",
            input_example=EXAMPLE.numpy(),
            pip_requirements=[],
            serialization_format="pt2",
        )
        mlflow.pytorch.log_model(Plain().eval(), name="pickled", pip_requirements=[], serialization_format="pickle")
        mlflow.onnx.log_model(onnx_library.load(onnx), name="onnx", signature=signature, pip_requirements=[])
        run_id = mlflow.active_run().info.run_id  # type: ignore[union-attr]
        registered = mlflow.register_model(f"runs:/{run_id}/exported", "brought")
    assert_same(audited(f"runs:/{run_id}/exported", images), expected)
    assert_same(audited(f"models:/brought/{registered.version}", images), expected)
    assert_same(audited(f"runs:/{run_id}/onnx", images), expected)
    with pytest.raises(UserError, match="stored as a pickle, which could run any code"):
        audited(f"runs:/{run_id}/pickled", images)
    assert_same(audited(f"runs:/{run_id}/pickled", images, trust_pickle=True), expected)
    with pytest.raises(UserError, match=r"can't be loaded from MLflow"):
        audited("models:/nobody@champion", images)


RAW = PreprocessingHints(white=255.0, mean=(0.0,), std=(1.0,), layout="nhw", frame=(28, 28))


@pytest.fixture
def served() -> Iterator[str]:
    """Our own server, with the network that is audited behind it."""
    app = server(ServedModel(trained(), GREY, tuple(map(str, range(10)))))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        running = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{port}/invocations"
        running.should_exit = True
        thread.join()


def test_served_model_is_asked_over_http(served: str, images: Images, expected: dict[str, Predictions]) -> None:
    assert_same(audited(served, images, RAW), expected)
    with pytest.raises(UserError, match=r"refuses the images with status 400 .*pixels go from"):
        audited(served, images, PreprocessingHints(white=1.0).merge(RAW))
    gone = served.replace("invocations", "nothing")
    with pytest.raises(UserError, match="status 404"):
        audited(gone, images, RAW)
    with pytest.raises(UserError, match="does not answer"):
        audited("http://127.0.0.1:1/invocations", images, RAW)


@pytest.mark.usefixtures("store")
def test_our_own_models_in_mlflow_know_their_pixels(
    tmp_path: Path, images: Images, expected: dict[str, Predictions]
) -> None:
    weights.save(trained().state_dict(), "small", tmp_path / "small.safetensors")
    store = connect("digits")
    run = runs.create(store, "one", {})
    identity = runs.Identity("digits", "d" * 32, "small", 0, GREY, tuple(map(str, range(10))))
    run.log_model(tmp_path / "small.safetensors", identity)
    assert_same(audited(f"runs:/{run.id}/model", images, PreprocessingHints()), expected)


def test_pickle_is_refused_unless_it_is_trusted(
    tmp_path: Path, images: Images, expected: dict[str, Predictions]
) -> None:
    path = tmp_path / "whole.pth"
    torch.save(Plain().eval(), path)
    with pytest.raises(UserError, match=r"pickle that holds more than tensors.*save_file.*--trust-pickle"):
        audited(str(path), images)
    assert_same(audited(str(path), images, trust_pickle=True), expected)


def test_archive_with_a_pickle_inside_is_refuse(exported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a custom object, and in place of a tensor."""
    monkeypatch.chdir(tmp_path)
    for member in ("constants/custom_obj_0", None):
        crafted = tmp_path / "crafted.pt2"
        with zipfile.ZipFile(exported) as old, zipfile.ZipFile(crafted, "w") as new:
            for name in old.namelist():
                inside = name.partition("/data/")[2]
                pickled = member is None and re.match(r"sample_inputs/.*\.pt", inside)
                bomb = BytesIO()
                torch.save(Bomb(), bomb)
                new.writestr(name, bomb.getvalue() if pickled else old.read(name))
            if member:
                new.writestr(f"{old.namelist()[0].partition('/')[0]}/data/{member}", pickle.dumps(Bomb()))
        with pytest.raises(UserError, match="crafted") as caught:
            adapters.load(str(crafted), ModelOptions())
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_weights_without_an_architecture_are_told_what_to_do(tmp_path: Path, images: Images) -> None:
    torch.save(Plain().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights without their architecture: .*timm:NAME --weights"):
        audited(str(tmp_path / "weights.pt"), images)


@pytest.mark.parametrize("name", ["bomb.pt", "bomb.pth", "bomb.bin"])
def test_files_from_strangers_are_never_executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, tmp_path / name)
    for what, weights_file in ((name, None), ("torchvision:resnet18", Path(name)), ("timm:resnet18", Path(name))):
        with pytest.raises(UserError, match="pickle"):
            adapters.load(what, ModelOptions(weights=weights_file))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["timm", "torchvision"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_libraries_fill_their_architecture_with_weights(kind: str, suffix: str, tmp_path: Path) -> None:
    import safetensors.torch
    import timm
    from torchvision.models import resnet18

    torch.manual_seed(0)
    module: nn.Module = timm.create_model("resnet18", num_classes=7) if kind == "timm" else resnet18(num_classes=7)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in module.state_dict().items()}}, path)
    else:
        safetensors.torch.save_file(module.state_dict(), path)
    model = adapters.load(f"{kind}:resnet18", ModelOptions(weights=path))
    inputs = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = model.outputs(inputs)
        assert isinstance(found, torch.Tensor)
        assert torch.allclose(found, module.eval()(inputs), atol=1e-5)
    known = Preprocessing.of(model.hints, None)
    assert (known.frame, known.channels, known.white) == ((224, 224), "rgb", 1)
    assert known.mean == pytest.approx((0.485, 0.456, 0.406))
    assert known.resize in (235, 256)  # timm's config, and torchvision's, of these weights
    assert model.notes == ()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("timm:resnet19", "timm has no architecture 'resnet19'"),
        ("torchvision:resnet19", "torchvision has no architecture 'resnet19'"),
        ("nowhere.onnx", "no file at nowhere.onnx"),
        ("nowhere.pt2", "no file at nowhere.pt2"),
        ("nowhere.pt", "no file at nowhere.pt"),
        ("nowhere.safetensors", "no weights at nowhere.safetensors"),
        ("nowhere.py:build", "no file at nowhere.py"),
        ("nowhere.module:build", "there is no module 'nowhere'"),
        ("tests.audits.models:nothing", "has no function 'nothing'"),
        ("resnet18", "'resnet18' is no model: give module:function"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(what: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        adapters.load(what, ModelOptions())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "pt", "safetensors"])
def test_a_text_file_is_no_model(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"model.{suffix}").write_text("hello")
    with pytest.raises(UserError, match=r"model\.") as caught:
        adapters.load(str(tmp_path / f"model.{suffix}"), ModelOptions())
    assert "\n" not in str(caught.value)


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'shiftlab\[onnx\]'"):
        adapters.load(str(tmp_path / "model.onnx"), ModelOptions())
