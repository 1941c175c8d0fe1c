"""`module:function` or `file.py:function`, which returns an `nn.Module` or another callable: the user's own code."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import from_module
from shiftlab.errors import UserError


def load(name: str, options: ModelOptions) -> Model:
    """Return the model that the function returns, called with the options' arguments alone."""
    place, _, attribute = name.rpartition(":")
    function = getattr(_module(place), attribute, None)
    if not callable(function):
        raise UserError(f"{place} has no function {attribute!r}: name the one that returns the model")
    if isinstance(function, nn.Module):
        raise UserError(f"{name} is a model: name a function that returns it, which takes no batch")
    with _failures(name), _importing_from(Path(place).parent.resolve()):
        model = function(**options.arguments)
    if isinstance(model, nn.Module):
        return from_module(model, name, "python", options)
    if not callable(model) or isinstance(model, type):
        kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise UserError(f"{name} returns {kind}: it must return an nn.Module, or a function of a batch")
    return Model(name, "python", model)


def _module(place: str) -> object:
    path = Path(place)
    if path.suffix != ".py":
        try:
            with _importing_from(Path.cwd()):
                return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UserError(
                f"there is no module {error.name!r}: install it, or name a file, as in model.py:build"
            ) from None
    if not path.is_file():
        raise UserError(f"no file at {path}: name the Python file that has the function")
    # Under a name of its own: it may be called as a library that is imported.
    specification = importlib.util.spec_from_file_location(f"{path.stem} of {path.parent.resolve()}", path)
    assert specification is not None and specification.loader is not None  # noqa: PT018  # of a file that ends with .py
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where dataclasses look names up
    with _failures(place), _importing_from(path.parent.resolve()):
        specification.loader.exec_module(module)
    return module


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Tell in a sentence how a user's code fails."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a script of theirs may end in the latter
        raise UserError(f"{name} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let a user's code import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.pop(0)
