"""Predictions of test images under shifts: the one format, of which all metrics are made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from shiftlab import files
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.shifts.store import Arrays

FOLDER = Path("predictions")

Labels = NDArray[np.unsignedinteger]  # numbers of classes, in `label_type`


def label_type(classes: int) -> type[np.unsignedinteger]:
    """Return the smallest type that holds the number of any of so many classes."""
    return np.uint8 if classes <= 256 else np.uint16


@dataclass(frozen=True)
class PredictionMetadata:
    """What predictions are of."""

    data: str  # name of the data set
    data_md5: str  # of its file
    classes: tuple[str, ...]  # their names
    weights_md5: str  # of the weights file
    shape: tuple[int, int, int]  # of what the model sees of an image: channels, height, width
    canvas: bool  # do the images lie on a larger black canvas?
    boundary: BoundaryName
    parameters: int  # the model's
    multiply_adds: int  # of one image's forward pass


@dataclass(frozen=True)
class SetPredictions:
    """Predictions on a named evaluation set, for each of the N test images."""

    shifts: NDArray[np.int8]  # (N, 2): dx, dy in pixels
    predicted: Labels  # (N,)
    confidence: NDArray[np.float32]  # (N,): the probability given to the predicted class


@dataclass(frozen=True)
class GridPredictions:
    """Predictions under every shift within a radius, or a sample of them, for M of the test images."""

    images: NDArray[np.int32]  # (M,): which
    shifts: NDArray[np.int8]  # (S, 2): as `shifts.sample` gives them
    predicted: Labels  # (S, M)
    confidence: NDArray[np.float16]  # (S, M): the probability given to the predicted class
    euclidean: NDArray[np.float16]  # (S, M): distance of the class probabilities from the unshifted image's
    cosine: NDArray[np.float16]  # (S, M): the same, one minus the cosine of the angle between them
    ink: NDArray[np.int32]  # (S, M): raw intensity, summed over the pixels, that is still in the frame

    @property
    def centre(self) -> int:
        """Return the place among the shifts of that by 0 pixels."""
        return int(np.flatnonzero((self.shifts == 0).all(axis=1))[0])

    def within(self, radius: int) -> GridPredictions:
        """Return the predictions at the shifts of at most `radius` pixels along each axis."""
        rows = np.abs(self.shifts.astype(np.int64)).max(axis=1) <= radius
        return GridPredictions(self.images, **{key: of[rows] for key, of in vars(self).items() if key != "images"})


@dataclass(frozen=True)
class Predictions:
    """One model's predictions in one boundary mode: N test images on named sets, M of them under many shifts."""

    metadata: PredictionMetadata
    labels: Labels  # (N,)
    sets: dict[str, SetPredictions]
    line_shifts: NDArray[np.int8]  # (L, 2): every shift along the three directions, once, centre included
    on_lines: Labels  # (L, M): the predicted class, of the grid's images
    fractions: NDArray[np.float32]  # (F,): shifts to the right by parts of a pixel
    on_fractions: Labels  # (F, M): likewise
    grid: GridPredictions

    @property
    def grid_labels(self) -> Labels:
        """Return the labels of the grid's images, `(M,)`."""
        return self.labels[self.grid.images]

    def within(self, radius: int) -> Predictions:
        """Return the predictions with a grid of the shifts of at most `radius` pixels along each axis."""
        return replace(self, grid=self.grid.within(radius))

    def along(self, line: NDArray[np.int8]) -> Labels:
        """Return the predictions, `(K, M)`, at the shifts of a line, `(K, 2)`. KeyError: one was not computed."""
        rows = {tuple(shift): row for row, shift in enumerate(self.line_shifts.tolist())}
        return self.on_lines[[rows[tuple(shift)] for shift in line.tolist()]]


def path(model: str, seed: int, boundary: BoundaryName) -> Path:
    """Return the file of a trained model's predictions in a boundary mode."""
    return FOLDER / model / str(seed) / f"{boundary}.safetensors"


def save(predictions: Predictions, path: Path) -> None:
    """Write predictions; the same give the same bytes. OSError: as `files.write`."""
    # One entry of metadata, as in weights.py.
    metadata = json.dumps({**vars(predictions.metadata), "sets": list(predictions.sets)})
    files.write(path, safetensors.numpy.save(to_arrays(predictions), {"about": metadata}))


def load(path: Path) -> Predictions:
    """Read what `save` wrote. UserError: no such file, or not predictions."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        sets = metadata.pop("sets")
        metadata |= {"classes": tuple(metadata["classes"]), "shape": tuple(metadata["shape"])}
        return from_arrays(tensors, PredictionMetadata(**metadata), sets)
    except FileNotFoundError:
        raise UserError(f"no predictions at {path}: `dvc repro` makes them") from None
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not hold predictions ({error}): delete it, then `dvc repro`") from None


def to_arrays(predictions: Predictions) -> Arrays:
    """Return all arrays by name, those of the grid and of each set with a prefix."""
    arrays = {key: value for key, value in vars(predictions).items() if isinstance(value, np.ndarray)}
    parts = {"grid": predictions.grid, **{f"sets.{name}": of_set for name, of_set in predictions.sets.items()}}
    return arrays | {f"{prefix}.{key}": array for prefix, part in parts.items() for key, array in vars(part).items()}


def from_arrays(arrays: Arrays, metadata: PredictionMetadata, sets: Iterable[str]) -> Predictions:
    """Return the predictions that `to_arrays` took apart.

    Raises:
        KeyError, TypeError: an array is missing, or one too many.
    """
    rest = dict(arrays)

    def take(prefix: str) -> Arrays:
        return {key.removeprefix(prefix): rest.pop(key) for key in arrays if key.startswith(prefix)}

    of_sets = {name: SetPredictions(**take(f"sets.{name}.")) for name in sets}
    return Predictions(metadata=metadata, sets=of_sets, grid=GridPredictions(**take("grid.")), **rest)


def renumber(predictions: Predictions, numbers: Labels, classes: tuple[str, ...]) -> Predictions:
    """Return predictions whose classes have other numbers, `(K,)` by their present ones, and those names."""
    arrays = {
        key: numbers[array] if key.endswith("predicted") or key in ("labels", "on_lines", "on_fractions") else array
        for key, array in to_arrays(predictions).items()
    }
    return from_arrays(arrays, replace(predictions.metadata, classes=classes), predictions.sets)


def prune_files(keep: Iterable[Path], folder: Path) -> None:
    """Delete all predictions in a folder but those to keep; DVC's cache has them.

    A stage that needs several depends on the folder, since dvc.yaml can't list the files of a matrix. A leftover of an
    earlier choice would change the folder's digest, and dvc.lock with it.
    """
    for leftover in set(folder.rglob("*.safetensors")) - set(keep):
        leftover.unlink()
