"""The handwritten digits that scikit-learn carries: real ones, and no download."""

import torch
from torch.nn.functional import interpolate, pad

from shiftlab.data.dataset import Examples, numbered, split


def digits() -> tuple[Examples, Examples, tuple[str, ...]]:
    """All 1,797 in MNIST's format: 8x8 in 0..16 to 20x20 in 0..255, centred in 28x28.

    A fifth is the test set, drawn once and for all.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).unsqueeze(1) * (255 / 16)
    images = interpolate(small, size=(20, 20), mode="bilinear").round().to(torch.uint8)
    everything = Examples(pad(images, (4, 4, 4, 4)), torch.from_numpy(bunch.target).long())
    return *split(everything, size=len(everything) // 5, seed=0, what="the test set"), numbered(10)
