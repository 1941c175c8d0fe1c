"""The sources of images, one file each: `NAME.py` holds `SOURCE`, a `Source`.

The folder is the registry. A further source is a further file here and a `conf/data/NAME.yaml`. Names and attributes
are had in milliseconds: a source's file imports what is slow, as PyTorch, within `load`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.dataset import Examples

    Loaded = tuple[Examples, Examples, tuple[str, ...]]  # training images, test images, names of the classes


@dataclass(frozen=True)
class Source:
    """Where images come from, and what is known of them before they are loaded."""

    label: str  # its name for people
    load: Callable[[Data], Loaded]  # gets the images, as far as `data` lets choose; raises UserError or OSError
    image_size: tuple[int, int] | None  # height and width in pixels; None: the images are the user's own
    channels: int | None  # 1: grey; 3: red, green, blue; None: as the user's images have it
    classes: tuple[str, ...] | None = None
    images: tuple[int, int] | None = None  # numbers of training and of test images
    has_test_images: bool = True  # else `load` splits `data.test` off
    bundled: bool = False  # an installed package carries the images: an audit takes them by name; `load` ignores `data`


def names() -> list[str]:
    """Return the names of all sources, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Source:
    """Return the source of that name; params.py has refused one that is not among `names()`."""
    source: Source = importlib.import_module(f"{__name__}.{name}").SOURCE
    return source
