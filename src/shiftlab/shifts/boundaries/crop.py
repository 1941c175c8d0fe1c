"""Boundary `crop`: the frame is a window into a larger image, whose content moves in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.shifts.boundary import Boundary

if TYPE_CHECKING:
    from torch import Tensor


class Crop(Boundary):
    """A window that slides over a larger image."""

    label = "window into a larger image"

    def describe(self, width: int, height: int) -> str:
        """Return what happens at the edge."""
        return f"a window of {width}x{height} pixels moves over the larger image, whose content enters"

    def margin(self, max_shift: int) -> int:
        """Return the pixels of the larger image that shifts of up to `max_shift` bring into sight: as many."""
        return max_shift

    def extend(self, images: Tensor, pixels: int) -> Tensor:
        """Return images as they are: there is nothing beyond a shift of none."""
        assert pixels == 0
        return images


BOUNDARY = Crop()
