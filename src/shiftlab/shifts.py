"""Translations of images, grids of shifts, and the named evaluation sets. See PROTOCOL.md, "The shift"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shiftlab.errors import UserError
from shiftlab.params import RegimeName

if TYPE_CHECKING:  # evaluation needs no more than the shifts' names and grids, and not PyTorch's import
    from torch import Tensor

Shifts = NDArray[np.int8]  # `(N, 2)`: dx pixels to the right, dy pixels down

# How torch.nn.functional.pad continues an image past its edge, which is all that tells the regimes apart.
PADDING: dict[RegimeName, str] = {"zero": "constant", "circular": "circular"}


def surround(images: Tensor, radius: int, regime: RegimeName) -> Tensor:
    """What lies `radius` pixels around the images, with them in the middle: all that a shift can bring into the frame.

    Args:
        images: raw, any dtype, `(N, H, W)`.
        radius: in `circular` at most the images' size.

    Returns:
        `(N, H + 2 radius, W + 2 radius)`, same dtype.
    """
    from torch.nn.functional import pad

    return pad(images.unsqueeze(1), (radius,) * 4, mode=PADDING[regime]).squeeze(1)


def window(surrounded: Tensor, radius: int, dx: int, dy: int) -> Tensor:
    """The images moved `dx` pixels right and `dy` down, as a view into what `surround` made of them.

    Args:
        surrounded: `(N, H + 2 radius, W + 2 radius)`.
        dx, dy: at most `radius` either way.

    Returns:
        `(N, H, W)`.
    """
    height, width = (side - 2 * radius for side in surrounded.shape[-2:])
    top, left = radius - dy, radius - dx
    return surrounded[..., top : top + height, left : left + width]


def shift(images: Tensor, dx: int, dy: int, regime: RegimeName = "zero") -> Tensor:
    """Raw images of any dtype, `(N, H, W)`, moved `dx` pixels right and `dy` down; same shape and dtype."""
    radius = max(abs(dx), abs(dy))
    return window(surround(images, radius, regime), radius, dx, dy)


def shift_each(images: Tensor, shifts: Shifts, regime: RegimeName = "zero") -> Tensor:
    """Raw images `(N, H, W)`, each moved by its own of `shifts`, `(N, 2)`; same shape and dtype."""
    moved = images.new_empty(images.shape)
    distinct, which = np.unique(shifts, axis=0, return_inverse=True)
    for index, (dx, dy) in enumerate(distinct.tolist()):
        members = np.flatnonzero(which == index)
        moved[members] = shift(images[members], dx, dy, regime)
    return moved


def shift_by_fraction(surrounded: Tensor, radius: int, dx: float) -> Tensor:
    """The images moved right by a part of a pixel, each pixel mixed of its two neighbours (bilinear).

    Args:
        surrounded: `(N, H + 2 radius, W + 2 radius)`, of `surround`.
        dx: in pixels, at least 0 and below `radius`.

    Returns:
        float32 in 0..255, `(N, H, W)`.
    """
    whole = int(dx)
    part = dx - whole
    return window(surrounded, radius, whole, 0) * (1 - part) + window(surrounded, radius, whole + 1, 0) * part


def _all_by(dx: int, dy: int) -> Callable[[int, np.random.Generator], NDArray[np.int64]]:
    return lambda count, _: np.tile([dx, dy], (count, 1))


# A further way to shift the test set is one more line. PROTOCOL.md, "Named evaluation sets", says why these.
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

FRACTIONS = np.arange(0, 2.25, 0.25)  # pixels to the right, of the sub-pixel curve


def line(direction: str, radius: int) -> Shifts:
    """The shifts of -radius..radius steps along a direction, `(2 * radius + 1, 2)`."""
    return np.outer(np.arange(-radius, radius + 1), DIRECTIONS[direction]).astype(np.int8)


def grid(radius: int) -> Shifts:
    """Every integer shift of at most `radius` pixels along each axis, `((2 * radius + 1)^2, 2)`, row by row."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.stack([dx.ravel(), dy.ravel()], axis=1).astype(np.int8)


def subset(labels: NDArray[np.integer], count: int | str, seed: int) -> NDArray[np.int32]:
    """Which of the images with these labels, `(N,)`, the grid is evaluated on: each digit in its share, in order.

    Args:
        count: how many, or "all".

    Raises:
        UserError: there are fewer images than `count`, or fewer than one for each digit were asked for.
    """
    from sklearn.model_selection import train_test_split  # only the predict stage pays for the import

    everything = np.arange(len(labels), dtype=np.int32)
    if count in ("all", len(labels)):
        return everything
    try:
        taken, _ = train_test_split(everything, train_size=count, random_state=seed, stratify=labels)
    except ValueError as error:
        raise UserError(
            f"evaluation.images is {count}, which can't be drawn from {len(labels):,} test images ({error}): "
            "choose another number, or all of them with `-S evaluation=full`"
        ) from None
    drawn: NDArray[np.int32] = np.sort(taken)
    return drawn
