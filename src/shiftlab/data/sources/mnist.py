"""MNIST: handwritten digits, grey (LeCun, Cortes and Burges)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.data.sources import Source

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.sources import Loaded

CLASSES = tuple("0123456789")


def load(data: Data) -> Loaded:
    """Download MNIST, verify and decode it; raises as `mnist_format.load`."""
    from torchvision.datasets import MNIST

    from shiftlab.data import mnist_format

    return *mnist_format.load(MNIST, data.mirrors), CLASSES


SOURCE = Source("MNIST", load, image_size=(28, 28), channels=1, classes=CLASSES, images=(60_000, 10_000))
