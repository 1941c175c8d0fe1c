"""What an evaluation predicts: the named sets, and every shift of a grid, of lines and of fractions of a pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shiftlab.config.params import Evaluation
from shiftlab.data.dataset import Dataset, center_crop
from shiftlab.networks import cost
from shiftlab.shifts import grids, inference
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.inference import Executor, Images, Plan, Progress
from shiftlab.shifts.predictions import GridPredictions, PredictionMetadata, Predictions, SetPredictions, label_type
from shiftlab.shifts.store import Store


def metadata(name: str, data_md5: str, data: Dataset, model: nn.Module, weights_md5: str = "") -> PredictionMetadata:
    """Return what predictions of a data set's test images are of, with the model's cost.

    Args:
        name: of the data set.
        data_md5, weights_md5: of its file, and of the model's.
    """
    parameters, multiply_adds = cost.count(model, center_crop(data.test.images[0], data.frame))
    return PredictionMetadata(
        name, data_md5, data.classes, weights_md5, data.shape, data.canvas, "zero", parameters, multiply_adds
    )


def predict_evaluation(
    images: Images,
    labels: NDArray[np.integer] | None,
    metadata: PredictionMetadata,
    evaluation: Evaluation,
    execute: Executor,
    store: Store | None = None,
    on_progress: Progress = lambda _: None,
) -> Predictions:
    """Predict images under every shift that an evaluation asks for, in the boundary mode of `metadata`.

    Args:
        labels: `(N,)`, numbers of classes; None: what an unshifted image is predicted as stands for its label.
        execute, store, on_progress: as of `inference.predict`.

    Raises:
        UserError: fewer images than the evaluation asks for; an image can't be read; the model fails.
    """
    plan = plan_evaluation(len(images), labels, metadata.boundary, metadata.shape, evaluation)
    arrays = inference.predict(images, plan, execute, store, on_progress)
    sets = {
        name: SetPredictions(shifts, arrays[f"{name}.predicted"], arrays[f"{name}.confidence"])
        for name, shifts in plan.sets.items()
    }
    known = sets["clean"].predicted if labels is None else labels.astype(label_type(len(metadata.classes)))
    rows = {tuple(shift): row for row, shift in enumerate(plan.shifts.tolist())}
    grid, lines, fractions = _shifts(evaluation)
    on_grid, on_lines, on_fractions = (
        [rows[tuple(shift)] for shift in shifts.tolist()] for shifts in (grid, lines, fractions)
    )
    small = {name: arrays[name][on_grid].astype(np.float16) for name in ("confidence", "euclidean", "cosine")}
    return Predictions(
        metadata,
        known,
        sets,
        line_shifts=lines,
        on_lines=arrays["predicted"][on_lines],
        fractions=grids.FRACTIONS.astype(np.float32),
        on_fractions=arrays["predicted"][on_fractions],
        grid=GridPredictions(
            plan.subset, grid, predicted=arrays["predicted"][on_grid], ink=arrays["ink"][on_grid], **small
        ),
    )


def plan_evaluation(
    images: int, labels: NDArray[np.integer] | None, boundary: str, shape: tuple[int, int, int], evaluation: Evaluation
) -> Plan:
    """Plan what an evaluation asks for: named sets of all images, and of some every shift of grid, lines, fractions.

    Raises:
        UserError: fewer images than the evaluation asks for.
    """
    numbers = np.arange(images, dtype=np.int32)
    subset = numbers if labels is None else grids.subset(labels, evaluation.images, evaluation.seed)
    sets = {name: grids.named_set(name, images, evaluation.seed) for name in grids.NAMED_SETS}
    return Plan(boundary, shape, sets, subset, np.unique(np.concatenate(_shifts(evaluation)), axis=0))


def _shifts(evaluation: Evaluation) -> tuple[Shifts, Shifts, NDArray[np.floating]]:
    """Return the shifts of the grid, of the lines and by fractions of a pixel, `(S, 2)` each."""
    fractions = np.column_stack([grids.FRACTIONS, np.zeros_like(grids.FRACTIONS)])
    grid = grids.sample(evaluation.radius, evaluation.shifts, evaluation.seed)
    return grid, grids.line_shifts(evaluation.radius), fractions
