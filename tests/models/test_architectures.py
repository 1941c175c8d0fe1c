import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import Compose, Normalize, ToTensor

from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from tests.helpers import GREY, PARAMETERS, SRC, coloured, examples, run_python
from tests.networks.plain import plain_resnet

FOLDER = SRC / "shiftlab/models/architectures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def build(name: str) -> Classifier:
    torch.manual_seed(0)
    return architectures.build(name, GREY, 10)


def test_folder_is_the_registry() -> None:
    assert architectures.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_model_gives_ten_logits_for_raw_images_of_either_type(name: str) -> None:
    model = build(name).eval()
    images = examples(3).images
    with torch.inference_mode():
        logits = model(images)
        assert torch.equal(model(images.float()), logits)
    assert logits.shape == (3, 10)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_generator_decides_the_first_weights(name: str) -> None:
    first, again = build(name).state_dict(), build(name).state_dict()
    other = architectures.build(name, GREY, 10).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("mlp", 0.5, 0.5), ("lenet", 0.1307, 0.3081), ("resnet", 0.1307, 0.3081)]
)
def test_normalisation_is_exactly_torchvisions(name: str, mean: float, std: float) -> None:
    images = examples(3).images
    images[0, 0, 0] = torch.arange(28) * 9
    model = build(name)
    model.network = nn.Identity()
    transform = Compose([ToTensor(), Normalize((mean,), (std,))])
    assert torch.equal(model(images), torch.stack([transform(image[0].numpy()) for image in images]))


@pytest.mark.parametrize(("name", "count"), [("mlp", 535_818), ("lenet", 61_706), ("resnet", 11_175_370)])
def test_number_of_weights(name: str, count: int) -> None:
    assert sum(weights.numel() for weights in build(name).parameters()) == count


def test_mlp_is_the_notebooks() -> None:
    layers = [type(layer) for layer in build("mlp").network.children()]
    assert layers == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert shapes("mlp") == [(512, 784), (512,), (256, 512), (256,), (10, 256), (10,)]


def test_lenet_is_the_notebooks() -> None:
    layers = [type(layer) for layer in build("lenet").network.children()]
    convolutions = [nn.Conv2d, nn.Sigmoid, nn.AvgPool2d] * 2
    assert layers == [*convolutions, nn.Flatten, nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid, nn.Linear]
    kernels = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,)]
    assert shapes("lenet") == [*kernels, (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]


def test_lenet_halves_28_pixels_twice() -> None:
    pixels = torch.zeros(1, 1, 28, 28)
    sides = []
    for layer in build("lenet").network.children():
        pixels = layer(pixels)
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d):
            sides.append(pixels.shape[-1])
    assert sides == [28, 14, 10, 5]


def shapes(name: str) -> list[tuple[int, ...]]:
    return [tuple(weights.shape) for weights in build(name).parameters()]


def test_resnet_has_torchvisions_weights_under_torchvisions_names() -> None:
    ours = {key: weights.shape for key, weights in build("resnet").network.state_dict().items()}
    assert ours == {key: weights.shape for key, weights in plain_resnet().state_dict().items()}


def test_file_in_the_folder_is_a_model(tmp_path: Path) -> None:
    package = tmp_path / "src"
    shutil.copytree(SRC / "shiftlab", package / "shiftlab", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "shiftlab/models/architectures/linear.py").write_text(
        "from torch import nn\n"
        "from shiftlab.networks.classifier import Classifier\n"
        "def build(shape, classes):\n"
        "    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, classes)), mean=0.5, std=0.5)\n"
    )
    chosen = {**PARAMETERS, "models": {"linear": PARAMETERS["models"]["mlp"]}}
    (tmp_path / "params.yaml").write_text(json.dumps(chosen))
    code = (
        "import torch; from shiftlab.config import params; from shiftlab.models import architectures\n"
        "model = architectures.build('linear', (1, 28, 28), 10)\n"
        "print(architectures.names(), *params.load().models, *model(torch.zeros(2, 1, 28, 28)).shape)\n"
    )
    done = run_python("-c", code, cwd=tmp_path, package=package)
    assert done.stdout == f"{sorted([*NAMES, 'linear'])} linear 2 10\n", done.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "classes"), [((20, 26), 3), ((33, 12), 1000)])
def test_model_learns_from_coloured_images_that_are_not_square(name: str, size: tuple[int, int], classes: int) -> None:
    some = coloured(8, size=size)
    torch.manual_seed(0)
    model = architectures.build(name, (3, *size), classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        logits = model(some.images)
        assert logits.shape == (8, classes)
        loss = cross_entropy(logits, some.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_lenet_says_what_it_needs() -> None:
    with pytest.raises(UserError, match="lenet needs images of 12 pixels a side at least, not 28x11"):
        architectures.build("lenet", (1, 11, 28), 10)
