"""The handwritten digits that scikit-learn carries: real ones, grey, and no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.data.sources import Source

if TYPE_CHECKING:
    from shiftlab.data.sources import Loaded

CLASSES = tuple("0123456789")


def digits() -> Loaded:
    """Return all 1,797 in MNIST's format: 8x8 in 0..16 to 20x20 in 0..255, centred in 28x28.

    A fifth is the test set, drawn once and for all.
    """
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import interpolate, pad

    from shiftlab.data.dataset import Examples, split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).unsqueeze(1) * (255 / 16)
    images = interpolate(small, size=(20, 20), mode="bilinear").round().to(torch.uint8)
    examples = Examples(pad(images, (4, 4, 4, 4)), torch.from_numpy(bunch.target).long())
    return *split(examples, size=len(examples) // 5, seed=0, what="the test set"), CLASSES


SOURCE = Source(
    "scikit-learn's digits",
    lambda _: digits(),
    image_size=(28, 28),
    channels=1,
    classes=CLASSES,
    images=(1_438, 359),
    bundled=True,
)
