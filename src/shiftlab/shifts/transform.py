"""Shifts of images: crops of what a boundary mode has padded. PROTOCOL.md, "Shift and boundary"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shiftlab.shifts import boundaries

if TYPE_CHECKING:  # the names are needed without paying for PyTorch's import
    from torch import Tensor

    from shiftlab.shifts.boundary import Frame
    from shiftlab.shifts.grids import Shifts


def crop_at(padded: Tensor, max_shift: int, dx: float, dy: int) -> Tensor:
    """Return the frame's content moved `dx` pixels right and `dy` down, as a view where `dx` is a whole number.

    Args:
        padded: `(N, C, h + 2 max_shift, w + 2 max_shift)`, of `Boundary.pad`.
        dx, dy: at most `max_shift` either way. Between two pixels the images are mixed (bilinear): float32 in 0..255.

    Returns:
        `(N, C, h, w)`.
    """
    height, width = (side - 2 * max_shift for side in padded.shape[-2:])
    whole, part = divmod(dx, 1)
    top, left = max_shift - dy, max_shift - int(whole)
    moved = padded[..., top : top + height, left : left + width]
    return moved if part == 0 else moved * (1 - part) + crop_at(padded, max_shift, whole + 1, dy) * part


def crop_each(padded: Tensor, max_shift: int, shifts: Shifts) -> Tensor:
    """Return images moved by a shift of their own each, `(N, 2)`; else as `crop_at`."""
    height, width = (side - 2 * max_shift for side in padded.shape[-2:])
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2 max_shift + 1, 2 max_shift + 1, h, w), a view
    left, top = (max_shift - shifts.astype(np.int64)).T
    return crops[np.arange(len(shifts)), :, top, left]


def shift(images: Tensor, dx: int, dy: int, boundary: str = "zero", frame: Frame | None = None) -> Tensor:
    """Return raw images of any dtype, `(N, C, H, W)`, moved `dx` pixels right and `dy` down; `(N, C, h, w)`."""
    max_shift = max(abs(dx), abs(dy))
    return crop_at(boundaries.get(boundary).pad(images, max_shift, frame), max_shift, dx, dy)


def shift_each(images: Tensor, shifts: Shifts, boundary: str = "zero", frame: Frame | None = None) -> Tensor:
    """Return raw images `(N, C, H, W)`, moved by a shift of their own each, `(N, 2)`; `(N, C, h, w)`, same dtype."""
    max_shift = int(np.abs(shifts.astype(int)).max(initial=0))
    return crop_each(boundaries.get(boundary).pad(images, max_shift, frame), max_shift, shifts)
