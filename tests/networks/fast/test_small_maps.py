"""ResNet-18's convolutions of small maps against PyTorch's own."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from shiftlab.models import architectures
from shiftlab.networks.fast.small_maps import SmallMapConv2d, covering, replace_convolutions, weights_that_meet_data
from tests.helpers import GREY, examples
from tests.networks.plain import plain_resnet


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return architectures.build("resnet", GREY, 10).network


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 255, 3),
        nn.Conv2d(4, 256, 3, dilation=2),
        nn.Conv2d(4, 256, 3, groups=2),
        nn.Conv2d(4, 256, 3, padding="same"),
        nn.Conv2d(4, 256, 3, padding=1, padding_mode="reflect"),
        nn.LazyConv2d(256, 3),
    ],
)
def test_other_convolutions_stay_as_they_are(layer: nn.Conv2d) -> None:
    before = type(layer)
    replace_convolutions(nn.Sequential(layer))
    assert type(layer) is before


def test_replaced_convolution_has_the_same_weights_and_draws_none() -> None:
    layer = nn.Conv2d(4, 256, 3, padding=1)
    weight, generator = layer.weight, torch.get_rng_state()
    network = nn.Sequential(layer)
    replace_convolutions(network)
    assert type(network[0]) is SmallMapConv2d
    assert network[0].weight is weight
    assert torch.equal(torch.get_rng_state(), generator)


def test_resnets_last_stages_skip_what_is_zero() -> None:
    network = resnet()
    skipping = {name for name, module in network.named_modules() if isinstance(module, SmallMapConv2d)}
    convolutions = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert skipping == {name for name in convolutions if name.startswith(("layer3.", "layer4."))}
    assert len(skipping) == 10


@pytest.mark.parametrize("partly", [False, True])
def test_resnet_computes_what_torchvisions_does(partly: bool) -> None:
    """Forward and backward, and five steps of Adam, in float64: only the order of sums may differ."""
    ours = resnet().double()
    plain = plain_resnet().double()
    plain.load_state_dict(ours.state_dict())
    images = examples(8).images.double() / 255
    labels = examples(8).labels
    losses: list[list[float]] = []
    for network in (ours, plain):
        weights = weights_that_meet_data(network, images) if partly else network.parameters()
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
    network = resnet()
    weights = weights_that_meet_data(network, torch.rand(1, 1, 28, 28))
    unseen = 5 * 256 * 512 + 3 * 8 * 512 * 512  # layer4: five taps of its first 3x3 kernels, eight of the others
    assert sum(one.numel() for one in weights) == sum(one.numel() for one in network.parameters()) - unseen
    larger = weights_that_meet_data(network, torch.rand(1, 1, 64, 64))
    assert all(one is whole for one, whole in zip(larger, network.parameters(), strict=True))
    weights_that_meet_data(network, torch.rand(1, 1, 28, 28))
    network.train()(torch.rand(2, 1, 64, 64)).sum().backward()  # of another size than it was told
    assert all(one.grad is not None for one in network.parameters())


def test_resnet_that_has_moved_in_memory_learns_as_a_whole() -> None:
    network = resnet()
    weights_that_meet_data(network, torch.rand(1, 1, 28, 28))
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
    for network in (resnet().eval(), plain_resnet().eval()):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(images)
        counts.append(counter.get_total_flops())
    assert counts[0] < 0.7 * counts[1]
