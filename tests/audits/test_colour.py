"""Coloured pictures that are not square, of three classes, in a folder: as a stranger brings them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from shiftlab.cli import app

# TorchScript is deprecated, and what people have.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

HEIGHT, WIDTH = 32, 44
SEEN = f"{HEIGHT - 12}x{WIDTH - 12}"  # what the models see: there is room for crops
ASKED = ["--mean", "0.45", "--std", "0.225", "--channels", "rgb", "--crop", SEEN, "--radius", "3", "--shifts", "20"]


def picture(kind: int, rng: np.random.Generator) -> np.ndarray:
    """A red, green or blue square somewhere in the middle."""
    pixels = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    y, x = rng.integers(12, HEIGHT - 16), rng.integers(14, WIDTH - 18)
    pixels[y : y + 5, x : x + 5, kind] = rng.integers(150, 255)
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("colour") / "squares"
    for kind, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(picture(kind, rng)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Its outputs are in the order of the folder's names: blue, green, red."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 3, 200)
    images = np.stack([picture(kind, rng)[6:-6, 6:-6] for kind in kinds]).transpose(0, 3, 1, 2)
    inputs, labels = (torch.from_numpy(images).float() / 255 - 0.45) / 0.225, torch.from_numpy(2 - kinds)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def metrics(*arguments: str, status: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    done = CliRunner().invoke(app, ["audit", *arguments, "--json"])
    assert done.exit_code == status, done.output
    found: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout)["metrics"]
    return found


@pytest.mark.slow
def test_every_format_gives_the_same_metrics_in_every_boundary(folder: Path, network: nn.Module) -> None:
    example = torch.zeros(2, 3, HEIGHT - 12, WIDTH - 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, example).save("model.pt")
        axes = ({0: torch.export.Dim("images")},)
        torch.onnx.export(network, (example,), "model.onnx", dynamic_shapes=axes, dynamo=True, verbose=False)
    everywhere = [part for boundary in ("zero", "circular", "crop") for part in ("--boundary", boundary)]
    found = [
        metrics(name, "--data", str(folder), *ASKED, *everywhere, "--out", f"audits/{name}")
        for name in ("model.pt", "model.onnx")
    ]
    assert list(found[0]) == ["zero", "circular", "crop"]
    assert found[0]["zero"]["clean"]["value"] > 0.9
    for boundary, of_boundary in found[0].items():
        for name, one in of_boundary.items():
            assert found[1][boundary][name]["value"] == pytest.approx(one["value"], abs=1e-3)


def test_swapped_channels_are_noticed(folder: Path, network: nn.Module) -> None:
    torch.jit.trace(network, torch.zeros(2, 3, HEIGHT - 12, WIDTH - 12)).save("model.pt")
    swapped = [{"rgb": "bgr"}.get(word, word) for word in ASKED]
    done = CliRunner().invoke(app, ["audit", "model.pt", "--data", str(folder), *swapped, "--boundary", "zero"])
    assert done.exit_code == 2
    assert "channels rgb 9" in done.stderr or "channels rgb 100.0%" in done.stderr


def test_classes_are_matched_by_name(folder: Path, network: nn.Module) -> None:
    torch.jit.trace(network, torch.zeros(2, 3, HEIGHT - 12, WIDTH - 12)).save("model.pt")
    Path("names.txt").write_text("red\ngreen\nblue\n")  # not the order of its outputs
    done = CliRunner().invoke(
        app, ["audit", "model.pt", "--data", str(folder), *ASKED, "--boundary", "zero", "--classes", "names.txt"]
    )
    assert done.exit_code == 2
    assert "the classes in another order" in done.stderr
    Path("names.txt").write_text("blue\ngreen\nred\n")
    arguments = [*ASKED, "--boundary", "zero", "--classes", "names.txt", "--fail-under", "clean=0.9"]
    found = metrics("model.pt", "--data", str(folder), *arguments)
    assert found["zero"]["clean"]["value"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_untrained_architectures_of_libraries_are_audited(library: str, folder: Path) -> None:
    few = ["--size", "40", "--crop", "32", "--images", "6", "--radius", "2", "--shifts", "16", "--boundary", "zero"]
    done = CliRunner().invoke(
        app, ["audit", f"{library}:resnet18", "--data", str(folder), *few, "--any-accuracy", "--out", "out"]
    )
    assert done.exit_code == 0, done.output
    assert "its weights are untrained" in done.stderr
    assert "less 0.485/0.456/0.406, over 0.229/0.224/0.225" in done.stderr
    assert json.loads(Path("out/metrics.json").read_text())["model"]["outputs"] == 3
