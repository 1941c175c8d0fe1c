"""Boundary `circular`: content that moves out on one side moves in on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.shifts.boundary import Boundary

if TYPE_CHECKING:
    from torch import Tensor


class Circular(Boundary):
    """Wrap-around."""

    label = "wrap-around"
    display = "tiled"

    def describe(self, width: int, height: int) -> str:  # noqa: ARG002
        """Return what happens at the edge."""
        return "content wraps round, nothing is lost"

    def extend(self, images: Tensor, pixels: int) -> Tensor:
        """Return images that go on at the other side; of at most their own size in pixels."""
        from torch.nn.functional import pad

        return pad(images, (pixels,) * 4, mode="circular")


BOUNDARY = Circular()
