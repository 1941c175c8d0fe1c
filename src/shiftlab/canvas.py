"""Images on a larger black canvas, where they can move without losing ink. See PROTOCOL.md, "The shift"."""

import numpy as np

from shiftlab.data import Examples
from shiftlab.shifts import shift_each, surround


def lay(examples: Examples, size: int, rng: np.random.Generator | None = None) -> Examples:
    """The images on canvases of `size` pixels a side, in the middle, or wherever `rng` draws for each.

    Args:
        size: at least the images' own; the difference is even, so that there is a middle.
    """
    margin = (size - examples.size) // 2
    images = surround(examples.images, margin, "zero")
    if rng:
        images = shift_each(images, rng.integers(-margin, margin, (len(examples), 2), endpoint=True).astype(np.int8))
    return Examples(images, examples.labels)
