"""Layers against their definitions."""

from typing import Literal

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from shiftlab.networks.layers import BlurPool2d, PolyphasePool2d


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("padding", "boundary"), [("reflect", "reflect"), ("circular", "wrap")])
@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_blur_is_every_second_pixel_of_a_binomial_blur(
    padding: Literal["reflect", "circular"], boundary: Literal["reflect", "wrap"], size: tuple[int, int]
) -> None:
    given = maps(2, 3, *size)
    found = BlurPool2d(3, padding)(given)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for image, blurred in zip(given.flatten(0, 1).numpy(), found.flatten(0, 1).numpy(), strict=True):
        expected = convolve2d(np.pad(image, 1, mode=boundary), kernel, mode="valid")[::2, ::2]
        np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_blur_learns_nothing_and_is_in_no_file() -> None:
    layer = BlurPool2d(4)
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}


def test_polyphase_takes_the_phase_with_the_largest_norm_for_each_image() -> None:
    given = maps(5, 3, 6, 4)
    found = PolyphasePool2d()(given)
    for image, taken in zip(given, found, strict=True):
        phases = [image[:, down::2, right::2] for down in (0, 1) for right in (0, 1)]
        assert torch.equal(taken, max(phases, key=lambda phase: float(phase.norm())))


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (3, 5), (-2, 1)])
def test_polyphase_of_a_shifted_map_is_the_same_but_for_a_shift(shift: tuple[int, int]) -> None:
    given = maps(4, 2, 8, 6)
    taken, of_shifted = PolyphasePool2d()(given), PolyphasePool2d()(given.roll(shift, (2, 3)))
    rolls = [taken.roll((down, right), (2, 3)) for down in range(4) for right in range(3)]
    for image in range(4):
        assert any(torch.equal(of_shifted[image], rolled[image]) for rolled in rolls)


def test_a_fixed_phase_of_a_shifted_map_is_another() -> None:
    given = maps(4, 2, 8, 6)
    taken, of_shifted = given[..., ::2, ::2], given.roll(1, 3)[..., ::2, ::2]
    rolls = [taken.roll((down, right), (2, 3)) for down in range(4) for right in range(3)]
    assert not any(torch.equal(of_shifted[0], rolled[0]) for rolled in rolls)
