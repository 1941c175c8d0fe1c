"""What the trainings of one variant call the test images: the one file that its metrics are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from shiftlab import files
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError

FOLDER = Path("study")

Called = NDArray[np.unsignedinteger]  # numbers of classes, in `predictions.answer_type`


@dataclass(frozen=True)
class Answers:
    """One training's, in one boundary, on N test images, of which M were shifted in many ways."""

    validation: NDArray[np.float64]  # (): the training's best validation accuracy, in 0..1
    labels: Called  # (N,)
    sets: dict[str, Called]  # by named evaluation set, (N,)
    images: NDArray[np.int32]  # (M,): which
    grid_shifts: NDArray[np.int8]  # (S, 2): as `shifts.sample` gives them
    on_grid: Called  # (S, M)
    axis_shifts: NDArray[np.int8]  # (K, 2): none, and along both axes
    on_axes: Called  # (K, M)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it by name."""
        own = {name: value for name, value in vars(self).items() if name != "sets"}
        return own | {f"sets.{name}": called for name, called in self.sets.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Answers:
        """The inverse of `arrays`."""
        sets = {name.removeprefix("sets."): value for name, value in arrays.items() if name.startswith("sets.")}
        return cls(sets=sets, **{name: value for name, value in arrays.items() if not name.startswith("sets.")})


@dataclass(frozen=True)
class Trials:
    """All trainings of one variant."""

    about: dict[str, Any]  # what was trained on what, in JSON's types
    answers: dict[tuple[int, BoundaryName], Answers]  # by seed and boundary


def path(variant: str) -> Path:
    """Where the study stage puts what a variant's trainings answered."""
    return FOLDER / f"{variant}.safetensors"


def save(trials: Trials, path: Path) -> None:
    """Write them; the same trials give the same bytes.

    Raises:
        OSError: as `files.write`.
    """
    tensors = {
        f"{seed}.{boundary}.{name}": array
        for (seed, boundary), answers in trials.answers.items()
        for name, array in answers.arrays().items()
    }
    # One entry of metadata and no more: safetensors writes several in an order that changes from run to run.
    files.write(path, safetensors.numpy.save(tensors, {"about": json.dumps(trials.about)}))


def load(path: Path) -> Trials:
    """Read what `save` wrote.

    Raises:
        UserError: no such file, or not such answers.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        arrays: dict[tuple[int, Any], dict[str, NDArray[Any]]] = {}
        for key, array in tensors.items():
            seed, boundary, name = key.split(".", 2)
            arrays.setdefault((int(seed), boundary), {})[name] = array
        return Trials(about, {key: Answers.of(arrays[key]) for key in sorted(arrays)})
    except FileNotFoundError:
        raise UserError(f"no answers at {path}: `make study` makes them") from None
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not hold a variant's answers ({error}): delete it, then `make study`") from None
