import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, ToTensor

from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.models.classifier import Classifier
from shiftlab.models.layers import SmallMapConv2d, covering, reached_weights
from tests.helpers import GREY, PARAMETERS, SRC, coloured, examples, run_python

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


def plain_resnet() -> nn.Module:
    """torchvision's, with nothing but its first and last layer changed."""
    network: nn.Module = resnet18(weights=None, num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def test_resnet_has_torchvisions_weights_under_torchvisions_names() -> None:
    ours = {key: weights.shape for key, weights in build("resnet").network.state_dict().items()}
    assert ours == {key: weights.shape for key, weights in plain_resnet().state_dict().items()}


def test_resnets_last_stages_skip_what_is_zero() -> None:
    network = build("resnet").network
    skipping = {name for name, module in network.named_modules() if isinstance(module, SmallMapConv2d)}
    convolutions = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert skipping == {name for name in convolutions if name.startswith(("layer3.", "layer4."))}
    assert len(skipping) == 10


@pytest.mark.parametrize("reached", [False, True])
def test_resnet_computes_what_torchvisions_does(reached: bool) -> None:
    """Forward and backward, and five steps of Adam, in float64: only the order of sums may differ."""
    ours = build("resnet").network.double()
    plain = plain_resnet().double()
    plain.load_state_dict(ours.state_dict())
    images = examples(8).images.double() / 255
    labels = examples(8).labels
    losses: list[list[float]] = []
    for network in (ours, plain):
        weights = reached_weights(network, images) if reached else network.parameters()
        optimizer = torch.optim.Adam(weights, lr=1e-3)
        network.train()
        losses.append([])
        for _ in range(5):
            loss = cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    expected = plain.state_dict()
    for key, weights in ours.state_dict().items():
        assert torch.allclose(weights, expected[key], rtol=1e-9, atol=1e-9), key


def test_resnets_optimiser_has_what_meets_data() -> None:
    network = build("resnet").network
    weights = reached_weights(network, torch.rand(1, 1, 28, 28))
    unseen = 5 * 256 * 512 + 3 * 8 * 512 * 512  # layer4: five taps of its first 3x3 kernels, eight of the others
    assert sum(one.numel() for one in weights) == sum(one.numel() for one in network.parameters()) - unseen
    larger = reached_weights(network, torch.rand(1, 1, 64, 64))
    assert all(one is whole for one, whole in zip(larger, network.parameters(), strict=True))
    reached_weights(network, torch.rand(1, 1, 28, 28))
    network.train()(torch.rand(2, 1, 64, 64)).sum().backward()  # of another size than it was told
    assert all(one.grad is not None for one in network.parameters())


def test_resnet_that_has_moved_in_memory_learns_as_a_whole() -> None:
    network = build("resnet").network
    reached_weights(network, torch.rand(1, 1, 28, 28))
    network.double().train()(torch.rand(2, 1, 28, 28).double()).sum().backward()
    assert all(one.grad is not None for one in network.parameters())


def configurations() -> Iterator[tuple[int, int, int, int]]:
    for size, kernel, stride, padding in product((1, 2, 3, 4, 7), (1, 2, 3, 5, 7), (1, 2, 3), range(4)):
        if padding < kernel <= size + 2 * padding:
            yield size, kernel, stride, padding


def test_small_map_convolution_is_the_ordinary_one() -> None:
    for size, kernel, stride, padding in configurations():
        compare_convolutions((size, size), (kernel, kernel), (stride, stride), (padding, padding))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((1, 4), (3, 5), (2, 1), (1, 2)),
        ((3, 1), (5, 3), (1, 2), (2, 1)),
        ((28, 2), (7, 3), (2, 1), (3, 1)),
        ((1, 2), (3, 5), (1, 1), (1, 2)),
        ((2, 3), (3, 5), (1, 1), (1, 2)),
    ],
)
def test_small_map_convolution_treats_its_two_axes_apart(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    compare_convolutions(size, kernel, stride, padding)


def compare_convolutions(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    small = SmallMapConv2d(2, 3, kernel, stride, padding, dtype=torch.float64)
    images = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    results = []
    for output in (small(images), conv2d(images, small.weight, small.bias, stride, padding)):
        weights = torch.arange(output.numel(), dtype=torch.float64).reshape(output.shape)
        assert small.bias is not None
        results.append([output, *torch.autograd.grad((output * weights).sum(), [images, small.weight, small.bias])])
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, rtol=1e-10, atol=1e-10), (size, kernel, stride, padding)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "firsts"),
    [
        (1, 3, 1, 1, [1]),  # layer4 of ResNet-18 at 28x28
        (2, 3, 2, 1, [1]),  # its first convolution
        (2, 3, 1, 1, [1, 0]),  # layer3
        (4, 3, 2, 1, None),  # its first convolution
        (2, 1, 2, 0, None),  # layer4's shortcut
        (3, 3, 1, 1, None),
        (3, 5, 1, 2, [2, 1, 0]),
        (28, 7, 2, 3, None),
    ],
)
def test_kernels_that_cover_a_map(size: int, kernel: int, stride: int, padding: int, firsts: list[int] | None) -> None:
    assert covering(size, kernel, stride, padding) == firsts


def test_matrix_products_save_products() -> None:
    images = torch.zeros(1, 1, 28, 28)
    counts = []
    for network in (build("resnet").network.eval(), plain_resnet().eval()):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(images)
        counts.append(counter.get_total_flops())
    assert counts[0] < 0.7 * counts[1]


def test_file_in_the_folder_is_a_model(tmp_path: Path) -> None:
    package = tmp_path / "src"
    shutil.copytree(SRC / "shiftlab", package / "shiftlab", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "shiftlab/models/architectures/linear.py").write_text(
        "from torch import nn\n"
        "from shiftlab.models.classifier import Classifier\n"
        "def build(shape, classes):\n"
        "    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, classes)), mean=0.5, std=0.5)\n"
    )
    chosen = {**PARAMETERS, "models": {"linear": PARAMETERS["models"]["mlp"]}}
    (tmp_path / "params.yaml").write_text(json.dumps(chosen))
    code = (
        "import torch; from shiftlab import params; from shiftlab.models import architectures\n"
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
