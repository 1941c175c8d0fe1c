"""Boundary `circular`: content that moves out on one side moves in on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.shifts.boundary import Boundary

if TYPE_CHECKING:
    from torch import Tensor


def extend(images: Tensor, pixels: int) -> Tensor:
    """Return images that go on at the other side, by at most their own size in pixels."""
    from torch.nn.functional import pad

    return pad(images, (pixels,) * 4, mode="circular")


BOUNDARY = Boundary("wrap-around", "content wraps round, nothing is lost", extend, display="tiled")
