"""Fashion-MNIST: ten kinds of clothing, grey (Xiao, Rasul and Vollgraf 2017)."""

from functools import partial

from shiftlab.data.mnist_format import load
from shiftlab.data.sources import Source

CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

SOURCE = Source(
    "Fashion-MNIST",
    partial(load, "FashionMNIST", CLASSES),
    image_size=(28, 28),
    channels=1,
    classes=CLASSES,
    images=(60_000, 10_000),
)
