"""What happens at the edge of an image that is moved: the boundaries. See PROTOCOL.md, "The shift".

A boundary is a way to surround the frame; a shift is then a window into what surrounds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shiftlab.config.params import BoundaryName

if TYPE_CHECKING:  # the names are wanted without paying for PyTorch's import
    from torch import Tensor

    from shiftlab.shifts.grids import Shifts

Frame = tuple[int, int]  # height and width in pixels of what a model sees

# How torch.nn.functional.pad continues an image past the frame's edge. In `crop` the image itself goes on there.
PADDING: dict[BoundaryName, str] = {"zero": "constant", "circular": "circular"}


def surround(images: Tensor, radius: int, boundary: BoundaryName, frame: Frame | None = None) -> Tensor:
    """What lies `radius` pixels around the frame, with it in the middle: all that a shift can bring into sight.

    Args:
        images: raw, any dtype, `(N, C, H, W)`.
        radius: in `circular` at most the frame's size, in `crop` at most what the image has around it.
        frame: the middle of the images that is seen; none means all of them.

    Returns:
        `(N, C, h + 2 radius, w + 2 radius)` for a frame of h x w, same dtype.
    """
    from torch.nn.functional import pad

    from shiftlab.data.dataset import center_crop

    height, width = frame or images.shape[-2:]
    if boundary == "crop":
        return center_crop(images, (height + 2 * radius, width + 2 * radius))
    return pad(center_crop(images, (height, width)), (radius,) * 4, mode=PADDING[boundary])


def window(surrounded: Tensor, radius: int, dx: int, dy: int) -> Tensor:
    """The frame's content moved `dx` pixels right and `dy` down, as a view into what `surround` made.

    Args:
        surrounded: `(N, C, h + 2 radius, w + 2 radius)`.
        dx, dy: at most `radius` either way.

    Returns:
        `(N, C, h, w)`.
    """
    height, width = (side - 2 * radius for side in surrounded.shape[-2:])
    top, left = radius - dy, radius - dx
    return surrounded[..., top : top + height, left : left + width]


def shift(images: Tensor, dx: int, dy: int, boundary: BoundaryName = "zero", frame: Frame | None = None) -> Tensor:
    """Raw images of any dtype, `(N, C, H, W)`, moved `dx` pixels right and `dy` down; `(N, C, h, w)`, same dtype."""
    radius = max(abs(dx), abs(dy))
    return window(surround(images, radius, boundary, frame), radius, dx, dy)


def shift_each(images: Tensor, shifts: Shifts, boundary: BoundaryName = "zero", frame: Frame | None = None) -> Tensor:
    """Raw images `(N, C, H, W)`, each moved by its own of `shifts`, `(N, 2)`; `(N, C, h, w)`, same dtype."""
    moved = images.new_empty((*images.shape[:2], *(frame or images.shape[-2:])))
    distinct, which = np.unique(shifts, axis=0, return_inverse=True)
    for index, (dx, dy) in enumerate(distinct.tolist()):
        members = np.flatnonzero(which == index)
        moved[members] = shift(images[members], dx, dy, boundary, frame)
    return moved


def shift_by_fraction(surrounded: Tensor, radius: int, dx: float) -> Tensor:
    """The images moved right by a part of a pixel, each pixel mixed of its two neighbours (bilinear).

    Args:
        surrounded: `(N, C, h + 2 radius, w + 2 radius)`, of `surround`.
        dx: in pixels, at least 0 and below `radius`.

    Returns:
        float32 in 0..255, `(N, C, h, w)`.
    """
    whole = int(dx)
    part = dx - whole
    return window(surrounded, radius, whole, 0) * (1 - part) + window(surrounded, radius, whole + 1, 0) * part
