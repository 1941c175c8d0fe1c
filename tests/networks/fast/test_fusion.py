import copy

import pytest
import torch
from torch import Tensor, nn

from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.fast.fusion import CircularMaxPool2d, PhasedConv2d, fuse
from tests.helpers import GREY, examples


def trained(name: str) -> Classifier:
    """With statistics and weights that are not those of a new model."""
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10)
    with torch.no_grad():
        for _ in range(3):
            model(examples(32).images)
        for weights in model.parameters():
            weights.add_(torch.randn(weights.shape) * 0.02)
    return model.eval()


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet", "invariant"])
def test_fused_network_answers_alike(name: str) -> None:
    model = trained(name)
    before = copy.deepcopy(model.state_dict())
    faster = fuse(model, GREY)
    with torch.inference_mode():
        expected, probabilities = (network(examples(200).images).softmax(1) for network in (model, faster))
    assert (expected - probabilities).abs().max() < 1e-4
    likeliest = expected.topk(2, dim=1).values
    certain = likeliest[:, 0] - likeliest[:, 1] > 1e-4
    assert torch.equal(expected.argmax(1)[certain], probabilities.argmax(1)[certain])
    assert certain.float().mean() > 0.9
    for key, weights in model.state_dict().items():
        assert torch.equal(weights, before[key])  # it is a copy


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet", "invariant"])
def test_fused_network_answers_where_gradients_are_recorded(name: str) -> None:
    faster = fuse(trained(name), GREY)
    assert torch.is_grad_enabled()
    assert not faster(examples(3).images).requires_grad


def kinds(model: nn.Module) -> list[type[nn.Module]]:
    return [type(module) for module in model.modules()]


def test_fused_networks_take_fewer_steps() -> None:
    assert nn.BatchNorm2d not in kinds(fuse(trained("resnet"), GREY))
    lenet = kinds(fuse(trained("lenet"), GREY))
    assert lenet.count(PhasedConv2d) == 1  # its second convolution fills the registers
    assert lenet.count(nn.AvgPool2d) == 1
    invariant = kinds(fuse(trained("invariant"), GREY))
    assert invariant.count(CircularMaxPool2d) == 2
    assert nn.MaxPool2d not in invariant


@pytest.mark.parametrize("size", [(6, 5), (2, 1), (1, 2)])
def test_maximum_around_edges_is_that_of_the_extended_map(size: tuple[int, int]) -> None:
    extended = nn.Sequential(nn.CircularPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1))
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    before = maps.clone()
    for layout in (maps, maps.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(CircularMaxPool2d()(layout), extended(layout))
    assert torch.equal(maps, before)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.CircularPad2d(1), nn.MaxPool2d(2, 1)),
        (nn.ReflectionPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)),
        (nn.CircularPad2d((0, 1, 0, 1)), nn.MaxPool2d(2)),
        (nn.CircularPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 1)),
        (nn.Identity(), nn.MaxPool2d(2, 1)),
    ],
)
def test_another_maximum_stays_as_it_is(layers: tuple[nn.Module, nn.Module]) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10)), 0.5, 0.5).eval()
    assert kinds(fuse(model, GREY)) == kinds(model)


@pytest.mark.parametrize("size", [(28, 28), (27, 31)])
@pytest.mark.parametrize(("kernel", "padding"), [(5, 2), (3, 0), ((3, 5), (1, 2))])
def test_pooling_in_the_convolution_is_pooling_after_it(
    size: tuple[int, int], kernel: int | tuple[int, int], padding: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 6, kernel, padding=padding).double()
    plain = nn.Sequential(convolution, nn.Sigmoid(), nn.AvgPool2d(2))
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    pooled = PhasedConv2d(convolution, nn.Sigmoid())(images)
    height, width = plain(images).shape[-2:]
    torch.testing.assert_close(pooled[..., :height, :width], plain(images))


class Elsewhere(nn.Module):
    """Its normalisation is made after the convolution and used before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images)
        logits: Tensor = self.head((maps.relu() + self.norm(maps)).mean((2, 3)))
        return logits


def test_network_that_folding_would_change_is_left_alone() -> None:
    torch.manual_seed(0)
    model = Classifier(Elsewhere(), 0.5, 0.5)
    model(examples(32).images)
    assert fuse(model.eval(), GREY) is model


def test_callers_generator_stays_as_it_is() -> None:
    model = trained("lenet")
    before = torch.get_rng_state()
    fuse(model, GREY)
    assert torch.equal(torch.get_rng_state(), before)
