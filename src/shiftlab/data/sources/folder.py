"""A folder of the user's own images, with a subfolder for each class: PNG and JPEG, 8 bits a channel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab.data.sources import Source

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.sources import Loaded


def load(data: Data) -> Loaded:
    """Return training and test images of the folder `data.path`, and its classes: its subfolders' names, sorted.

    Files are taken in the order of their names, turned as a camera's note (EXIF) says, and then, as `data` says,
    resized along the shorter side (bilinear, antialiased), cropped to the center, made grey or not.

    Raises:
        UserError: as `folder.load`, with the file's name.
    """
    from shiftlab.data import folder
    from shiftlab.data.dataset import split

    assert data.test is not None  # params.py has seen to that
    examples, classes = folder.load(Path(data.path), data.resize, data.crop, data.channels, data.background)
    return *split(examples, data.test, data.split_seed, "data.test"), classes


SOURCE = Source("folder", load, image_size=None, channels=None, has_test_images=False)
