"""Fashion-MNIST: ten kinds of clothing, grey (Xiao, Rasul and Vollgraf 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab.data.sources import Source

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.sources import Loaded

CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load(data: Data) -> Loaded:
    """Download Fashion-MNIST, verify and decode it; raises as `mnist_format.load`."""
    from torchvision.datasets import FashionMNIST

    from shiftlab.data import mnist_format

    return *mnist_format.load(FashionMNIST, data.mirrors), CLASSES


SOURCE = Source("Fashion-MNIST", load, image_size=(28, 28), channels=1, classes=CLASSES, images=(60_000, 10_000))
