from itertools import product
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks import components, cost
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.components import Downsampling, Head, Padding, Small
from shiftlab.networks.fast import fuse
from shiftlab.shifts.grids import grid
from shiftlab.shifts.transform import shift
from tests.helpers import GREY, coloured, examples

IMAGES = examples(6).images


def layers_of(model: Classifier) -> nn.Sequential:
    assert isinstance(model.network, nn.Sequential)
    return model.network


def last_map(model: Classifier, size: tuple[int, int]) -> tuple[int, int]:
    """What the layer before the head's last three gives."""
    with torch.inference_mode():
        maps = layers_of(model)[:-3](torch.zeros(1, 1, *size))
    height, width = maps.shape[-2:]
    return height, width


@pytest.mark.parametrize("downsampling", get_args(Downsampling))
@pytest.mark.parametrize("padding", get_args(Padding))
def test_size_of_the_last_maps_is_what_is_told(downsampling: Downsampling, padding: Padding) -> None:
    built = 0
    for layers, size in product((2, 3, 5), ((30, 30), (28, 28), (20, 26), (12, 13), (7, 9), (4, 4), (1, 6))):
        choices = Small(downsampling=downsampling, padding=padding, layers=layers)
        try:
            told = (choices.last_side(size[0]), choices.last_side(size[1]))
        except ValueError:
            with pytest.raises(UserError, match="can't be built"):
                architectures.build("small", (1, *size), 10, choices.model_dump())
            continue
        model = architectures.build("small", (1, *size), 10, choices.model_dump()).eval()
        assert last_map(model, size) == told
        built += 1
    assert built > 0


@pytest.mark.parametrize(
    ("choices", "size", "words"),
    [
        ({"padding": "valid", "layers": 5}, (28, 28), "valid padding leaves none"),
        ({"padding": "valid", "downsampling": "none"}, (12, 12), "valid padding leaves none"),
        ({"downsampling": "polyphase max", "padding": "valid"}, (28, 28), "polyphase sampling needs an even number"),
        ({"downsampling": "blurred max"}, (4, 4), "too few for downsampling by blurred max"),
    ],
)
def test_impossible_sizes_are_refused_in_a_sentence(
    choices: dict[str, object], size: tuple[int, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Small.model_validate(choices).refuse_size(*size)


def test_unknown_components_and_choices_are_refused() -> None:
    with pytest.raises(ValidationError):
        components.validate("small", {"colour": "red"})
    with pytest.raises(ValidationError):
        components.validate("small", {"head": "none"})
    with pytest.raises(ValueError, match="mlp has no components to choose, but head is given"):
        components.validate("mlp", {"head": "max"})
    assert components.validate("mlp", {}) is None


def test_the_small_network_is_that_of_the_trial() -> None:
    model = architectures.build("small", GREY, 10, {"head": "max"}).eval()
    assert cost.count(model, IMAGES[0])[0] == 14_458
    activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "identity": nn.Identity}
    for name, kind in activations.items():
        network = layers_of(architectures.build("small", GREY, 10, {"activation": name}))
        assert sum(type(layer) is kind for layer in network) >= 3


def test_dilation_sees_as_far_as_downsampling() -> None:
    """The gradient of one number of the last maps reaches as many pixels either way, of 28."""

    def seen(downsampling: str) -> int:
        torch.manual_seed(0)
        choices = {"downsampling": downsampling, "activation": "identity"}
        network = layers_of(architectures.build("small", GREY, 10, choices).eval())
        pixels = torch.zeros(1, 1, 28, 28, requires_grad=True)
        maps = network[:-3](pixels)
        maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
        assert pixels.grad is not None
        return int((pixels.grad[0, 0].abs().sum(0) > 0).sum())

    # Strides see 1 + 2 + 4 + 8 pixels; the dilated 1 + 2 + 4 + 8 too.
    assert seen("none") == seen("stride") == 15


@pytest.mark.parametrize("downsampling", ["none", "polyphase max"])
@pytest.mark.parametrize("head", ["average", "max"])
def test_what_is_exact_in_theory_is_fully_consistent_untrained(downsampling: Downsampling, head: Head) -> None:
    assert consistent(downsampling=downsampling, padding="circular", head=head)


@pytest.mark.parametrize("size", [(28, 28), (20, 28), (26, 20), (15, 9)])  # which can be halved twice, or can't
def test_the_invariant_network_is_exact_untrained_for_sides_of_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    shape = (3, *size)
    model = fuse(architectures.build("invariant", shape, 7).eval(), shape)
    images = coloured(3, size=size).images
    shifts = grid(min(size) - 1).tolist()[::7]
    with torch.inference_mode():
        unshifted = model(images)
        logits = torch.stack([model(shift(images, dx, dy, "circular")) for dx, dy in shifts])
    assert (logits - unshifted).abs().max() < 1e-4 * unshifted.abs().max()
    assert (logits.argmax(2) == unshifted.argmax(1)).all()


def test_the_invariant_network_takes_no_more_products_than_resnet() -> None:
    counts = {
        name: cost.count(architectures.build(name, GREY, 10).eval(), IMAGES[0])[1] for name in ("invariant", "resnet")
    }
    assert counts["invariant"] <= counts["resnet"]


@pytest.mark.parametrize("downsampling", ["stride", "average", "max", "larger max", "blurred max"])
def test_a_fixed_phase_is_not(downsampling: Downsampling) -> None:
    assert not consistent(downsampling=downsampling, padding="circular", head="average")


def test_neither_zero_padding_nor_a_flattened_head_is() -> None:
    assert not consistent(downsampling="none", padding="zero", head="max")
    assert not consistent(downsampling="none", padding="circular", head="flatten")


def consistent(**choices: str) -> bool:
    """Do all of 841 circular shifts get the answers of the unshifted images, whose logits differ at last?"""
    torch.manual_seed(0)
    model = fuse(architectures.build("small", GREY, 10, choices).eval(), GREY)
    with torch.inference_mode():
        unshifted = model(IMAGES)
        logits = torch.stack([model(shift(IMAGES, dx, dy, "circular")) for dx, dy in grid(14)[::5].tolist()])
    same = bool((logits - unshifted).abs().max() < 1e-4 * unshifted.abs().max())
    assert not same or (logits.argmax(2) == unshifted.argmax(1)).all()
    return same


@pytest.mark.parametrize("downsampling", get_args(Downsampling))
@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_folding_the_normalisation_changes_no_answer(downsampling: Downsampling, padding: str) -> None:
    torch.manual_seed(0)
    model = architectures.build("small", GREY, 10, {"downsampling": downsampling, "padding": padding})
    model(IMAGES)  # the normalisation has learned something
    faster = fuse(model.eval(), GREY)
    assert faster is not model
    with torch.inference_mode():
        assert torch.allclose(model(IMAGES).softmax(1), faster(IMAGES).softmax(1), atol=1e-4)
