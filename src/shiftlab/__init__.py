"""Measure how much translation invariance a neural network has, and where it comes from."""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from shiftlab.environment import spare_loopback

if TYPE_CHECKING:
    from shiftlab.audits.audit import Audit as Audit
    from shiftlab.audits.comparison import compare as compare
    from shiftlab.audits.run import audit as audit
    from shiftlab.audits.torchmetric import ShiftConsistency as ShiftConsistency
    from shiftlab.errors import UserError as UserError

# DVC starts a stage with whatever `python` stands first on the PATH. The wrong one would end in an import
# error deep inside some module; the right one is a sentence away.
if importlib.util.find_spec("torch") is None:
    sys.exit(
        f"error: {sys.executable} has no PyTorch: run `make setup` in the repository, "
        "or activate the environment that requirements.lock was installed into"
    )

spare_loopback()

# What a user of the package imports, and where it lies: PyTorch is imported with the first of them.
PUBLIC = {
    "Audit": "shiftlab.audits.audit",
    "ShiftConsistency": "shiftlab.audits.torchmetric",
    "UserError": "shiftlab.errors",
    "audit": "shiftlab.audits.run",
    "compare": "shiftlab.audits.comparison",
}


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'shiftlab' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
