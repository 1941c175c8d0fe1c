"""`module:function` or `file.py:function`, which returns an `nn.Module` or another callable: the user's own code."""

import importlib
import importlib.util
import sys
from pathlib import Path

from torch import nn

from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import of_module
from shiftlab.errors import UserError


def load(what: str, given: Given) -> Model:
    """Call the function without arguments.

    Raises:
        UserError: no such file, module or function; it fails; what it returns can't be called.
    """
    place, _, name = what.rpartition(":")
    function = getattr(_module(place), name, None)
    if not callable(function):
        raise UserError(f"{place} has no function {name!r}: name the one that returns the model")
    try:
        found = function()
    except Exception as error:
        raise UserError(f"{what} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if isinstance(found, nn.Module):
        return of_module(found, what, "python", given)
    if not callable(found):
        raise UserError(f"{what} returns {type(found).__name__}: it must return an nn.Module, or a function of a batch")
    return Model(what, "python", found)


def _module(place: str) -> object:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UserError(
                f"there is no module {error.name!r}: install it, or name a file, as in model.py:build"
            ) from None
        finally:
            sys.path.pop(0)
    path = Path(place)
    if not path.is_file():
        raise UserError(f"no file at {path}: name the Python file that has the function")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None  # noqa: PT018  # of a file that ends with .py
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.pop(0)
    return module
