"""What a model calls every test image under every shift: the one file all figures are computed from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from shiftlab import files
from shiftlab.errors import UserError


@dataclass(frozen=True)
class SetPredictions:
    """A model's answers on a named evaluation set, for each of its N images."""

    shifts: NDArray[np.int8]  # (N, 2): dx, dy in pixels
    predicted: NDArray[np.uint8]  # (N,)
    confidence: NDArray[np.float32]  # (N,): the probability given to the predicted class


@dataclass(frozen=True)
class Predictions:
    """A model's answers on N test images."""

    data: str  # name of the data set
    data_sha256: str  # of its file
    weights_sha256: str  # of the weights file
    labels: NDArray[np.uint8]  # (N,)
    sets: dict[str, SetPredictions]
    shifts: NDArray[np.int8]  # (S, 2): every shift along the three directions, once, centre included
    predicted: NDArray[np.uint8]  # (S, N)

    def along(self, line: NDArray[np.int8]) -> NDArray[np.uint8]:
        """The predictions at each of the shifts in `line`, `(L, 2)` -> `(L, N)`.

        Raises:
            KeyError: a shift that was not computed.
        """
        rows = {tuple(shift): row for row, shift in enumerate(self.shifts.tolist())}
        return self.predicted[[rows[tuple(shift)] for shift in line.tolist()]]


def path(model: str, seed: int) -> Path:
    """Where the predict stage puts a model's predictions."""
    return Path("predictions", f"{model}-{seed}.safetensors")


def save(predictions: Predictions, path: Path) -> None:
    """Write the predictions; the same predictions give the same bytes.

    Raises:
        OSError: as `files.write`.
    """
    tensors: dict[str, NDArray[np.generic]] = {
        "labels": predictions.labels,
        "shifts": predictions.shifts,
        "predicted": predictions.predicted,
    }
    for name, answers in predictions.sets.items():
        tensors |= {f"sets.{name}.{key}": array for key, array in vars(answers).items()}
    about = {key: getattr(predictions, key) for key in ("data", "data_sha256", "weights_sha256")}
    # One entry of metadata, as in weights.py.
    metadata = {"about": json.dumps({**about, "sets": list(predictions.sets)})}
    files.write(path, safetensors.numpy.save(tensors, metadata))


def load(path: Path) -> Predictions:
    """Read what `save` wrote.

    Raises:
        UserError: no such file, or not predictions.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        sets = {
            name: SetPredictions(**{key: tensors[f"sets.{name}.{key}"] for key in SetPredictions.__annotations__})
            for name in about["sets"]
        }
        arrays = {key: tensors[key] for key in ("labels", "shifts", "predicted")}
        return Predictions(**{**about, "sets": sets}, **arrays)
    except FileNotFoundError:
        raise UserError(f"no predictions at {path}: `dvc repro` makes them") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not hold predictions ({error}): delete it, then `dvc repro`") from None


def keep_only(wanted: Iterable[tuple[str, int]]) -> None:
    """Delete the predictions that an earlier choice of models and seeds left; DVC's cache has them.

    The compare stage depends on the whole folder, since dvc.yaml can't list the files of a matrix. A leftover
    would change the folder's digest, and dvc.lock with it.
    """
    paths = {path(model, seed) for model, seed in wanted}
    for leftover in set(Path("predictions").glob("*.safetensors")) - paths:
        leftover.unlink()
