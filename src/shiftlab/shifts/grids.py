"""By how much images are moved: lines, grids and samples of shifts, and the named evaluation sets. See PROTOCOL.md."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shiftlab.errors import UserError

Shifts = NDArray[np.int8]  # `(N, 2)`: dx pixels to the right, dy pixels down


def _constant(dx: int, dy: int) -> Callable[[int, np.random.Generator], NDArray[np.int64]]:
    return lambda count, _: np.tile([dx, dy], (count, 1))


# A further way to shift the test set is one more line. PROTOCOL.md, "Named evaluation sets", says why these.
NAMED_SETS: dict[str, Callable[[int, np.random.Generator], NDArray[np.int64]]] = {
    "clean": _constant(0, 0),
    "right5": _constant(5, 0),
    "right4": _constant(4, 0),
    "translate3": lambda count, rng: rng.choice([-3, 3], (count, 2)),
    "random5": lambda count, rng: rng.integers(-5, 5, (count, 2), endpoint=True),
}


def named_set(name: str, count: int, seed: int) -> Shifts:
    """Return the shift of each of `count` test images in the evaluation set `name`, `(count, 2)`.

    Each set draws from a generator of its own, so that a new one leaves the others as they are.
    """
    return NAMED_SETS[name](count, np.random.default_rng([seed, *name.encode()])).astype(np.int8)


# A direction's unit step. The diagonal goes to the lower right.
DIRECTIONS: dict[str, tuple[int, int]] = {"x": (1, 0), "y": (0, 1), "diagonal": (1, 1)}

ANCHOR_RADIUS = 3  # pixels, of the shifts that no sample of a grid leaves out: MNIST-C's default severity
FRACTIONS = np.arange(0, 2.25, 0.25)  # pixels to the right, of the sub-pixel curve


def line(direction: str, radius: int) -> Shifts:
    """Return the shifts of -radius..radius steps along a direction, `(2 * radius + 1, 2)`."""
    return np.outer(np.arange(-radius, radius + 1), DIRECTIONS[direction]).astype(np.int8)


def line_shifts(radius: int) -> Shifts:
    """Return every shift along the three directions once, `(L, 2)`."""
    return np.unique(np.concatenate([line(direction, radius) for direction in DIRECTIONS]), axis=0)


def grid(radius: int) -> Shifts:
    """Return every integer shift of at most `radius` pixels along each axis, `((2 * radius + 1)^2, 2)`, row by row."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.stack([dx.ravel(), dy.ravel()], axis=1).astype(np.int8)


def center_and_ends(radius: int) -> Shifts:
    """Return the anchors that are weighed as themselves: the center and the ends of both axes, `(5, 2)`."""
    return np.array([(0, 0), (-radius, 0), (radius, 0), (0, -radius), (0, radius)], dtype=np.int8)


def anchors(radius: int) -> Shifts:
    """Return the shifts that every sample of a grid holds: center and ends, then all others within 3 pixels; `(A, 2)`.

    Robust accuracy is a minimum over shifts, which a part of them can't estimate.
    """
    shifts = np.concatenate([center_and_ends(radius), grid(min(ANCHOR_RADIUS, radius))])
    return np.array(list(dict.fromkeys(map(tuple, shifts.tolist()))), dtype=np.int8)


def sample(radius: int, count: int | str, seed: int) -> Shifts:
    """Return the grid row by row, or its anchors and then `count` of its shifts in the order of drawing; `(S, 2)`.

    They come in turn from two Sobol sequences over the square, scrambled each for itself (Owen 1998); none is drawn
    twice, and neither the center nor an end of an axis. Another anchor may be drawn, and is there twice then: the
    shifts drawn stand for the whole square. Each sequence covers it evenly, which single means want; a shift of one and
    a shift of the other are as near to each other as chance has it, which means over pairs want.

    Args:
        count: how many are drawn; "all", or as many as there are, for the grid.
    """
    whole, ends = grid(radius), center_and_ends(radius)
    if count == "all" or int(count) >= len(whole) - len(ends):
        return whole

    from scipy.stats import qmc  # a second to import, for samples alone

    sequences = [qmc.Sobol(2, rng=np.random.default_rng([seed, half, *b"grid"])) for half in (0, 1)]
    shifts_drawn = dict.fromkeys(map(tuple, ends.tolist()))
    while len(shifts_drawn) < len(ends) + int(count):
        (point,) = sequences[len(shifts_drawn) % 2].random(1)
        shifts_drawn.setdefault(tuple(((point * (2 * radius + 1)).astype(int) - radius).tolist()))
    shifts = np.concatenate([anchors(radius), np.array(list(shifts_drawn), dtype=np.int8)[len(ends) :]])
    return whole if len(np.unique(shifts, axis=0)) == len(whole) else shifts


def subset(labels: NDArray[np.integer], count: int | str, seed: int) -> NDArray[np.int32]:
    """Return which images, with labels `(N,)`, the grid is evaluated on: each class in its share, in order.

    Image 0, which the notebook moves, takes the place of the first of its class that is drawn.

    Args:
        count: how many, or "all".

    Raises:
        UserError: there are fewer images than `count`.
    """
    if count in ("all", len(labels)):
        return np.arange(len(labels), dtype=np.int32)
    if int(count) > len(labels):
        raise UserError(
            f"{count} images can't be drawn from {len(labels):,} test images: set evaluation.images, or study.images "
            "for the study, to as many at most"
        )
    from shiftlab.data.dataset import draw  # with PyTorch, for a part of the images alone

    images = draw(labels, int(count), seed).astype(np.int32)
    same = np.flatnonzero(labels[images] == labels[0])
    if len(same) and images[0] != 0:
        images[same[0]] = 0
    return np.sort(images)
