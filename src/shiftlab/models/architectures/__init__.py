"""The architectures, one file each: `NAME.py` holds `build(shape, classes)`, which returns a `Classifier`.

The folder is the registry. A further architecture is a further file here and a `conf/model/NAME.yaml`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the names are wanted without paying for PyTorch's import
    from shiftlab.models.classifier import Classifier


def names() -> list[str]:
    """The names of all architectures, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(name: str, shape: tuple[int, int, int], classes: int) -> Classifier:
    """An untrained model, its weights drawn from PyTorch's global generator.

    Args:
        shape: of its images: channels, height, width.

    Raises:
        ModuleNotFoundError: `name` is not among `names()`; params.py keeps users from getting here with one.
        UserError: the architecture is not made for such images.
    """
    return cast("Classifier", importlib.import_module(f"{__name__}.{name}").build(shape, classes))
