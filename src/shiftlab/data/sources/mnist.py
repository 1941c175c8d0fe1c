"""MNIST: handwritten digits, grey (LeCun, Cortes and Burges)."""

from functools import partial

from shiftlab.data.mnist_format import load
from shiftlab.data.sources import Source

CLASSES = tuple("0123456789")

SOURCE = Source(
    "MNIST", partial(load, "MNIST", CLASSES), image_size=(28, 28), channels=1, classes=CLASSES, images=(60_000, 10_000)
)
