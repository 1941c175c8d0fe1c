"""The architectures, one file each: `models/NAME.py` holds `build(size)`, which returns a `Classifier`.

The folder is the registry. A fourth architecture is a fourth file here and a `conf/model/NAME.yaml`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the names are wanted without paying for PyTorch's import
    from shiftlab.classifier import Classifier


def names() -> list[str]:
    """The names of all architectures, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(name: str, size: int) -> Classifier:
    """An untrained model for images of `size` pixels a side, its weights drawn from PyTorch's global generator.

    Raises:
        ModuleNotFoundError: `name` is not among `names()`; params.py keeps users from getting here with one.
    """
    return cast("Classifier", importlib.import_module(f"{__name__}.{name}").build(size))
