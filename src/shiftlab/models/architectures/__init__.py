"""The architectures, one file each: `NAME.py` holds `build(shape, classes)`, which returns a `Classifier`.

The folder is the registry. A further architecture is a further file here and a `conf/model/NAME.yaml`; one with
components to choose (`shiftlab.networks.components`) takes them as a third argument.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from shiftlab.networks import components

if TYPE_CHECKING:  # who asks for the names does not pay for PyTorch's import
    from shiftlab.networks.classifier import Classifier


def names() -> list[str]:
    """Return the names of all architectures, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(
    name: str, shape: tuple[int, int, int], classes: int, choices: Mapping[str, object] | None = None
) -> Classifier:
    """Return an untrained model, its weights drawn from PyTorch's global generator.

    Its images have that shape: channels, height, width. Components that are not chosen are as their defaults.

    Raises:
        ModuleNotFoundError: `name` is not among `names()`; params.py keeps users from getting here with one.
        ValueError: a component that it does not have; likewise.
        UserError: the architecture is not made for such images.
    """
    parts = components.validate(name, choices or {})
    build_it = importlib.import_module(f"{__name__}.{name}").build
    return cast("Classifier", build_it(shape, classes, parts) if parts else build_it(shape, classes))
