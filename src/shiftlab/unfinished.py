"""Unfinished work of the pipeline: files in the repository's root, named after all that the result depends on.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails, so that
unfinished work lies in neither.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from shiftlab import determinism, imports
from shiftlab.repository import root

BOUNDARIES = "shiftlab.shifts.boundaries"  # modules that are loaded by their names


def path(name: str, key: str) -> Path:
    """Return the place of unfinished work, for people its name, and its key."""
    return root() / "checkpoints" / f"{name}-{key[:16]}"


def key(settings: Mapping[str, object], model: str, *modules: str) -> str:
    """Return the SHA-256 of settings, of the code of a model and modules with their imports, and of the machine's kind.

    Args:
        settings: what the result depends on, in JSON's types.
        model: name of the architecture.
    """
    code = imports.digest(f"shiftlab.models.architectures.{model}", BOUNDARIES, *modules)
    everything = {**settings, "code": code, **determinism.description()}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
