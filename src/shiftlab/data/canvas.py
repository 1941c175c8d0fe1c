"""Images on a larger black canvas, where they can move without losing ink. See PROTOCOL.md, "The shift"."""

import numpy as np
import torch

from shiftlab.data.dataset import Examples


def place_on_canvas(examples: Examples, size: int, rng: np.random.Generator | None = None) -> Examples:
    """Place images on black canvases of `size` pixels a side: centred, or wherever `rng` draws for each.

    Args:
        size: at least the images' own; the differences are even, so that there is a center.
    """
    count, channels, height, width = examples.images.shape
    canvases = torch.zeros((count, channels, size, size), dtype=examples.images.dtype)
    margin = np.array([size - width, size - height]) // 2
    shifts = np.zeros((count, 2), int) if rng is None else rng.integers(-margin, margin, (count, 2), endpoint=True)
    for canvas, image, (left, top) in zip(canvases, examples.images, (margin + shifts).tolist(), strict=True):
        canvas[:, top : top + height, left : left + width] = image
    return Examples(canvases, examples.labels)
