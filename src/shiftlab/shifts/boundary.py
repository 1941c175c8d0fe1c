"""What a boundary mode is: what enters a frame where its content moves out of it. PROTOCOL.md, "Shift and boundary"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # names and labels do without paying for PyTorch's import
    from torch import Tensor

Frame = tuple[int, int]  # height and width in pixels of what a model sees


@dataclass(frozen=True)
class Boundary:
    """A boundary mode: a way to pad the frame. A shift is then a crop of what was padded."""

    label: str  # for people, as "black border"
    edge: str  # what happens at the edge, of a frame of {width}x{height} pixels
    # Adds pixels on each side of images `(N, C, h, w)`, same dtype; None: those of a larger image come into sight.
    extend: Callable[[Tensor, int], Tensor] | None
    loses_content: bool = False  # does a shift cut off what moves past the edge?
    # How a page moves an image: over nothing, over copies of itself, or as a crop of what `pad` returns.
    display: Literal["plain", "tiled", "padded"] = "padded"

    def describe(self, width: int, height: int) -> str:
        """Return a sentence on what happens at the edge of frames of that size."""
        return self.edge.format(width=width, height=height)

    def margin(self, max_shift: int) -> int:
        """Return how many pixels of a larger image around the frame shifts of up to `max_shift` bring into sight."""
        return 0 if self.extend else max_shift

    def pad(self, images: Tensor, max_shift: int, frame: Frame | None = None) -> Tensor:
        """Return all that shifts of up to `max_shift` pixels can bring into sight, with the frame in the middle.

        Args:
            images: raw, any dtype, `(N, C, H, W)`.
            frame: the middle of the images that a model sees; None: all of them.

        Returns:
            `(N, C, h + 2 max_shift, w + 2 max_shift)` for a frame of h x w, same dtype.
        """
        from shiftlab.data.dataset import center_crop

        height, width = frame or images.shape[-2:]
        margin = self.margin(max_shift)
        cropped = center_crop(images, (height + 2 * margin, width + 2 * margin))
        return self.extend(cropped, max_shift) if self.extend else cropped
