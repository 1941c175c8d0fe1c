"""Boundary `zero`: black moves in, and content that moves past the edge is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.shifts.boundary import Boundary

if TYPE_CHECKING:
    from torch import Tensor


def extend(images: Tensor, pixels: int) -> Tensor:
    """Return images with a black border of so many pixels."""
    from torch.nn.functional import pad

    return pad(images, (pixels,) * 4)


BOUNDARY = Boundary(
    "black border",
    "same frame, vacated pixels black, ink past the edge lost",
    extend,
    loses_content=True,
    display="plain",
)
