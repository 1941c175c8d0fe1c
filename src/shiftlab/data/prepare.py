"""The data set that parameters make of a source's images."""

import numpy as np

from shiftlab.config.params import Data
from shiftlab.data import sources
from shiftlab.data.canvas import place_on_canvas
from shiftlab.data.dataset import Dataset, split
from shiftlab.errors import UserError


def build_dataset(data: Data) -> Dataset:
    """Build the whole data set: loaded, split, placed on a canvas where `data` has one, with the frame of the models.

    Raises:
        NoMirrorError: a published file is not to be had.
        UserError: images that can't be read as what they are meant to be; images and parameters that do not fit.
        OSError: a file can't be read or kept.
    """
    source = sources.get(data.source)
    train, test, classes = source.load(data)
    shape = tuple(train.images.shape[1:])
    if source.image_size and shape != (declared := (source.channels, *source.image_size)):
        raise UserError(
            f"images of {data.source} have the shape {shape}, not {declared}, as their source says: correct image_size "
            f"and channels in {data.path}"
        )
    if data.test is not None and source.has_test_images:
        _, test = split(test, data.test, data.split_seed, "data.test")
    train, validation = split(train, data.validation, data.split_seed, "data.validation")
    if data.train is not None:
        _, train = split(train, data.train, data.split_seed, "data.train")
    if absent := sorted(set(range(len(classes))) - set(train.labels.tolist())):
        raise UserError(
            f"no training image of the class {classes[absent[0]]!r} is left: add some, or make data.test, "
            "data.validation smaller or data.train larger"
        )
    if data.canvas:
        rng = np.random.default_rng(data.split_seed) if data.placement == "random" else None
        train, validation = (place_on_canvas(part, data.canvas, rng) for part in (train, validation))
        test = place_on_canvas(test, data.canvas)
    height, width = test.images.shape[-2:]
    frame = data.frame or (height, width)
    if frame[0] > height or frame[1] > width:
        raise UserError(
            f"data.frame is {list(frame)}, larger than the images, which have {[height, width]} pixels: choose a "
            "smaller one"
        )
    return Dataset(train, validation, test, classes, frame, canvas=data.canvas is not None)
