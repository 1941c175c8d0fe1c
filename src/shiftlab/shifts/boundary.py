"""What a boundary mode is: what enters a frame where its content moves out of it. PROTOCOL.md, "Shift and boundary"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # names and labels do without paying for PyTorch's import
    from torch import Tensor

Frame = tuple[int, int]  # height and width in pixels of what a model sees


class Boundary(ABC):
    """A boundary mode: a way to pad the frame. A shift is then a crop of what was padded."""

    label: str  # for people, as "black border"
    loses_content = False  # does a shift cut off what moves past the edge?
    # How a page moves an image: over nothing, over copies of itself, or as a crop of what `pad` returns.
    display: Literal["plain", "tiled", "padded"] = "padded"

    @abstractmethod
    def describe(self, width: int, height: int) -> str:
        """Return a sentence on what happens at the edge of frames of that size."""

    @abstractmethod
    def extend(self, images: Tensor, pixels: int) -> Tensor:
        """Return images `(N, C, h, w)` with so many pixels more on each side; same dtype."""

    def margin(self, max_shift: int) -> int:  # noqa: ARG002
        """Return how many pixels of a larger image around the frame shifts of up to `max_shift` bring into sight."""
        return 0

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
        if kept := self.margin(max_shift):
            return center_crop(images, (height + 2 * kept, width + 2 * kept))
        return self.extend(center_crop(images, (height, width)), max_shift)
