"""Boundary `zero`: black moves in, and content that moves past the edge is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.shifts.boundary import Boundary

if TYPE_CHECKING:
    from torch import Tensor


class Zero(Boundary):
    """A black border."""

    label = "black border"
    loses_content = True
    display = "plain"

    def describe(self, width: int, height: int) -> str:  # noqa: ARG002
        """Return what happens at the edge."""
        return "same frame, vacated pixels black, ink past the edge lost"

    def extend(self, images: Tensor, pixels: int) -> Tensor:
        """Return images with a black border."""
        from torch.nn.functional import pad

        return pad(images, (pixels,) * 4)


BOUNDARY = Zero()
