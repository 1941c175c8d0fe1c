"""Translations of a batch, lines of shifts, and the named evaluation sets. See PROTOCOL.md, "The shift"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # evaluation needs no more than the shifts' names and lines, and not PyTorch's import
    from torch import Tensor

Shifts = NDArray[np.int8]  # `(N, 2)`: dx pixels to the right, dy pixels down


def shift(images: Tensor, dx: int, dy: int) -> Tensor:
    """Move the content `dx` pixels right and `dy` down; vacated pixels are 0, ink past the edge is lost.

    Regime `zero`. A shift by the image's size or more leaves nothing.

    Args:
        images: raw, any dtype, `(..., H, W)`.

    Returns:
        A new tensor of the same shape and dtype.
    """
    height, width = images.shape[-2:]
    moved = images.new_zeros(images.shape)
    rows, columns = height - abs(dy), width - abs(dx)
    if rows > 0 and columns > 0:
        top, left = max(dy, 0), max(dx, 0)
        source_top, source_left = max(-dy, 0), max(-dx, 0)
        moved[..., top : top + rows, left : left + columns] = images[
            ..., source_top : source_top + rows, source_left : source_left + columns
        ]
    return moved


def shift_each(images: Tensor, shifts: Shifts) -> Tensor:
    """Move every image by a shift of its own.

    Args:
        images: raw, any dtype, `(N, H, W)`.
        shifts: `(N, 2)`.

    Returns:
        A new tensor of the same shape and dtype as `images`.
    """
    moved = images.new_empty(images.shape)
    distinct, which = np.unique(shifts, axis=0, return_inverse=True)
    for index, (dx, dy) in enumerate(distinct.tolist()):
        members = np.flatnonzero(which == index)
        moved[members] = shift(images[members], dx, dy)
    return moved


def _all_by(dx: int, dy: int) -> Callable[[int, np.random.Generator], NDArray[np.int64]]:
    return lambda count, _: np.tile([dx, dy], (count, 1))


# A fourth way to shift the test set is one more line. PROTOCOL.md, "Named evaluation sets", says why these.
NAMED_SETS: dict[str, Callable[[int, np.random.Generator], NDArray[np.int64]]] = {
    "clean": _all_by(0, 0),
    "right5": _all_by(5, 0),
    "right4": _all_by(4, 0),
    "translate3": lambda count, rng: rng.choice([-3, 3], (count, 2)),
    "random5": lambda count, rng: rng.integers(-5, 5, (count, 2), endpoint=True),
}


def named_set(name: str, count: int, seed: int) -> Shifts:
    """The shift of each of `count` test images in the evaluation set `name`, `(count, 2)`.

    Each set draws from a generator of its own, so that a new one leaves the others as they are.
    """
    return NAMED_SETS[name](count, np.random.default_rng([seed, *name.encode()])).astype(np.int8)


# A direction's unit step. The diagonal goes to the lower right.
DIRECTIONS: dict[str, tuple[int, int]] = {"x": (1, 0), "y": (0, 1), "diagonal": (1, 1)}


def line(direction: str, radius: int) -> Shifts:
    """The shifts of -radius..radius steps along a direction, `(2 * radius + 1, 2)`."""
    return np.outer(np.arange(-radius, radius + 1), DIRECTIONS[direction]).astype(np.int8)
