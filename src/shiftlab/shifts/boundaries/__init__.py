"""The boundary modes, one file each: `NAME.py` holds `BOUNDARY`, a `Boundary`.

The folder is the registry: a further mode is a further file here, and experiments choose it by its name.
"""

import importlib
import pkgutil

from shiftlab.shifts.boundary import Boundary


def names() -> list[str]:
    """Return the names of all boundary modes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Boundary:
    """Return the boundary mode of that name; params.py has refused one that is not among `names()`."""
    boundary: Boundary = importlib.import_module(f"{__name__}.{name}").BOUNDARY
    return boundary
