"""All trainings of one variant on disk: a folder of predictions, and what they are of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shiftlab import files
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.shifts import predictions
from shiftlab.shifts.grids import NAMED_SETS
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.store import Arrays

FOLDER, ABOUT = Path("study"), "about.json"


@dataclass(frozen=True)
class Trials:
    """The trainings of one variant."""

    metadata: dict[str, Any]  # what was trained on what, in JSON's types
    validation: dict[int, float]  # by seed, the best validation accuracy, in 0..1
    predictions: dict[tuple[int, BoundaryName], Predictions]  # by seed and boundary mode


def path(variant: str) -> Path:
    """Return the folder that the study stage puts a variant's trainings into."""
    return FOLDER / variant


def save(trials: Trials, folder: Path) -> None:
    """Write trials; the same trials give the same bytes. OSError: as `files.write`."""
    metadata = {**trials.metadata, "validation": {str(seed): accuracy for seed, accuracy in trials.validation.items()}}
    with files.replacing(folder, [ABOUT, *(path.name for path in folder.glob("*.safetensors"))]) as new:
        for (seed, boundary), of_seed in trials.predictions.items():
            predictions.save(of_seed, new / f"{seed}-{boundary}.safetensors")
        files.write(new / ABOUT, json.dumps(metadata, indent=1) + "\n")


def load(folder: Path) -> Trials:
    """Read what `save` wrote. UserError: no such folder, or not a variant's trainings."""
    try:
        metadata = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        validation = {int(seed): accuracy for seed, accuracy in metadata.pop("validation").items()}
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no trainings of a variant in {folder}: `make study` makes them") from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        message = f"{folder} does not hold a variant's trainings ({error}): delete it, then `make study`"
        raise UserError(message) from None
    of_seeds = {
        (seed, file.stem.partition("-")[2]): predictions.load(file)
        for seed in validation
        for file in sorted(folder.glob(f"{seed}-*.safetensors"))
    }
    return Trials(metadata, validation, of_seeds)


def prune(keep: Iterable[Path]) -> None:
    """Delete all variants' folders but those to keep; DVC's cache has them. As `predictions.prune_files`."""
    for leftover in set(FOLDER.glob("*/")) - set(keep):
        shutil.rmtree(leftover)


def to_arrays(validation: float, of_seed: Mapping[BoundaryName, Predictions]) -> Arrays:
    """Return one training's validation accuracy and predictions as arrays by name."""
    arrays = {
        f"{boundary}.{key}": array
        for boundary, of_boundary in of_seed.items()
        for key, array in predictions.to_arrays(of_boundary).items()
    }
    return {"validation": np.array(validation), **arrays}


def from_arrays(arrays: Arrays, metadata: PredictionMetadata) -> tuple[float, dict[BoundaryName, Predictions]]:
    """Return what `to_arrays` was given."""
    of_boundaries: dict[BoundaryName, Arrays] = {}
    for name, array in arrays.items():
        boundary, _, key = name.partition(".")
        of_boundaries.setdefault(boundary, {})[key] = array
    validation = float(of_boundaries.pop("validation")[""])
    return validation, {
        boundary: predictions.from_arrays(of_boundary, replace(metadata, boundary=boundary), NAMED_SETS)
        for boundary, of_boundary in of_boundaries.items()
    }
