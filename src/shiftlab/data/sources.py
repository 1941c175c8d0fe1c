"""Every source of images by its name, and the data set that parameters make of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from shiftlab.config.params import Data, SourceName
from shiftlab.data import canvas
from shiftlab.data.dataset import Dataset, Examples, split
from shiftlab.data.digits import digits
from shiftlab.data.folder import folder
from shiftlab.data.published import fashion, mnist
from shiftlab.errors import UserError

# Training images, test images, names of the classes.
SOURCES: dict[SourceName, Callable[[Data], tuple[Examples, Examples, tuple[str, ...]]]] = {
    "mnist": lambda wanted: mnist(wanted.mirrors),
    "fashion": lambda wanted: fashion(wanted.mirrors),
    "digits": lambda _: digits(),
    "folder": folder,
}


def acquire(wanted: Data) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Training and test images of a source, and the names of its classes.

    Raises:
        NoMirrorError: a published file is not to be had.
        UserError: images that can't be read as what they are meant to be.
        OSError: a file can't be read or kept.
    """
    return SOURCES[wanted.source](wanted)


def build(wanted: Data) -> Dataset:
    """The whole data set: acquired, split, laid on a canvas if wanted, with the frame that models see.

    Raises:
        UserError, OSError: as `acquire`; images or parameters that do not fit together.
    """
    train, test, classes = acquire(wanted)
    if wanted.test is not None and wanted.source != "folder":  # whose test images are split off as it is read
        _, test = split(test, wanted.test, wanted.split_seed, "data.test")
    rest, validation = split(train, wanted.validation, wanted.split_seed, "data.validation")
    if wanted.train is not None:
        _, rest = split(rest, wanted.train, wanted.split_seed, "data.train")
    if wanted.canvas:
        rng = np.random.default_rng(wanted.split_seed) if wanted.placement == "random" else None
        rest, validation = (canvas.lay(part, wanted.canvas, rng) for part in (rest, validation))
        test = canvas.lay(test, wanted.canvas)
    height, width = test.images.shape[-2:]
    whole = Dataset(rest, validation, test, classes, (height, width), canvas=wanted.canvas is not None)
    if wanted.frame is None:
        return whole
    if wanted.frame[0] > height or wanted.frame[1] > width:
        raise UserError(
            f"data.frame is {list(wanted.frame)}, larger than the images, which have {[height, width]} pixels: "
            "choose a smaller one"
        )
    return replace(whole, frame=wanted.frame)
