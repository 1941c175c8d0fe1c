"""Where an unfinished training or prediction waits for the next attempt.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails. So a
checkpoint lies in neither: it lies in the repository's root, under a name made from all that the weights depend on.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch
from numpy.typing import NDArray

from shiftlab import determinism, files, imports
from shiftlab.repository import root
from shiftlab.training.loop import State

# What weights and predictions depend on, with all that these import; boundary modes are loaded by their names.
BOUNDARIES = "shiftlab.shifts.boundaries"
TRAINING = ("shiftlab.training.loop", BOUNDARIES)
MEASURING = ("shiftlab.shifts.inference", BOUNDARIES)
DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoint:
    """The file of one training; another learning rate, seed, data set, code or PyTorch has another file.

    Args:
        settings: what the caller's weights depend on, in JSON's types. The code, and what of the
            machine the last bits of a sum depend on, are added to it.
    """

    def __init__(self, model: str, seed: int, settings: Mapping[str, object]) -> None:
        self.key = _key({**settings, "model": model, "seed": seed}, *TRAINING, _architecture(model))
        self._path = _folder() / f"{model}-{seed}-{self.key[:16]}.pt"

    def load(self) -> State | None:
        """The state after the last finished epoch; None where there is none, or it is damaged."""
        state = _read(self._path)
        if state is None:
            return None
        return State.from_dict(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))

    def save(self, state: State) -> None:
        """Replace what was there.

        Raises:
            OSError: as `files.write`.
        """
        buffer = io.BytesIO()
        torch.save(state.to_dict(), buffer)
        _write(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Forget the training, once its weights are where they belong."""
        self._path.unlink(missing_ok=True)


class Parts:
    """The files of one unfinished piece of work, a file for each part of it.

    Args:
        settings: what the work depends on, in JSON's types.
        modules: the code that it depends on, which is added to that.
    """

    def __init__(self, kind: str, settings: Mapping[str, object], modules: Iterable[str]) -> None:
        key = _key(settings, *modules)
        self._folder = _folder() / f"{kind}-{key[:16]}"

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The part `name`; None where there is none, or it is damaged."""
        content = _read(self._folder / name)
        return None if content is None else safetensors.numpy.load(content)

    def save(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep a part.

        Raises:
            OSError: as `files.write`.
        """
        _write(self._folder / name, safetensors.numpy.save(arrays))

    def remove(self) -> None:
        """Forget all parts, once the whole is where it belongs."""
        shutil.rmtree(self._folder, ignore_errors=True)


class PredictionParts(Parts):
    """Of a model's predictions in one boundary."""

    def __init__(self, model: str, settings: Mapping[str, object]) -> None:
        super().__init__("predictions", settings, [*MEASURING, _architecture(model)])


class StudyParts(Parts):
    """Of a variant's trainings, whose network is of `architecture`."""

    def __init__(self, architecture: str, settings: Mapping[str, object]) -> None:
        super().__init__("study", settings, ["shiftlab.study.trial", *MEASURING, _architecture(architecture)])


def _folder() -> Path:
    return root() / "checkpoints"


def _architecture(name: str) -> str:
    return f"shiftlab.models.architectures.{name}"


def _key(settings: Mapping[str, object], *modules: str) -> str:
    """Return the SHA-256 of settings, of the code of modules and all that they import, and of the machine's kind."""
    everything = {**settings, "code": imports.digest(*modules), **determinism.description()}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """With its digest in front: a flipped bit would end the next attempt in a traceback, or go on with other values."""
    files.write(path, hashlib.sha256(content).digest() + content)


def _read(path: Path) -> bytes | None:
    """What `_write` wrote; None where there is no such file, or another."""
    try:
        everything = path.read_bytes()
    except OSError:
        return None
    digest, content = everything[:DIGEST_BYTES], everything[DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None
