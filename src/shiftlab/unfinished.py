"""Where unfinished work of the pipeline is kept, under a name made of all that its result depends on.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails. So it lies
in neither: it lies in the repository's root.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from shiftlab import determinism, imports
from shiftlab.repository import root

BOUNDARIES = "shiftlab.shifts.boundaries"  # which are loaded by their names


def folder() -> Path:
    """Return the folder of all unfinished work."""
    return root() / "checkpoints"


def key(settings: Mapping[str, object], model: str, *modules: str) -> str:
    """Return the SHA-256 of settings, of the code of a model and modules with their imports, and of the machine's kind.

    Args:
        settings: what the result depends on, in JSON's types.
        model: name of the architecture.
    """
    code = imports.digest(f"shiftlab.models.architectures.{model}", BOUNDARIES, *modules)
    everything = {**settings, "code": code, **determinism.description()}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
