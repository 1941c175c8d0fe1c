"""Agreement with the unshifted image's prediction, and consistency: that of two shifts (Zhang 2019).

PROTOCOL.md, "Corrected consistency", says why chance is taken off, and how.
"""

from collections.abc import Iterator
from math import inf

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import sampling
from shiftlab.metrics.intervals import RESAMPLES, Floats, bootstrap_counts
from shiftlab.metrics.registry import metric
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import Labels, Predictions


@metric(label="agreement with unshifted", over="shifts", needs_labels=False)
def agreement(predictions: Predictions) -> NDArray[np.bool_]:
    """Return where the prediction is that for the unshifted image, `(S, M)`."""
    grid = predictions.grid
    agreeing: NDArray[np.bool_] = grid.predicted == grid.predicted[grid.centre]
    return agreeing


@metric(label="consistency", over="pairs", needs_labels=False)
def consistency(predictions: Predictions) -> Iterator[NDArray[np.bool_]]:
    """Return, for each of an image's different predictions, the shifts at which it gets that, `(S, M)`."""
    return by_prediction(predictions.grid.predicted)


def by_prediction(predicted: Labels) -> Iterator[NDArray[np.bool_]]:
    """Return where an image gets its first, second, ... prediction, `(S, M)` each, of predictions `(S, M)`.

    Each image's different predictions are counted from 0: they may be few where there are a thousand classes.
    """
    order = np.argsort(predicted, axis=0, kind="stable")
    ordered = np.take_along_axis(predicted, order, axis=0)
    steps = np.zeros(predicted.shape, dtype=np.int64)
    steps[1:] = np.cumsum(ordered[1:] != ordered[:-1], axis=0)
    codes = np.empty_like(steps)
    np.put_along_axis(codes, order, steps, axis=0)
    return (codes == code for code in range(int(codes.max()) + 1))


def consistency_by_image(predicted: Labels, shifts: Shifts) -> Floats:
    """Return each image's consistency over the whole grid, `(M,)`, from predictions `(S, M)` at shifts `(S, 2)`.

    Exact of all shifts: with n_c the number of shifts at which the prediction is c, the sum of n_c (n_c - 1) over
    S (S - 1). Of a sample it is an unbiased estimate.
    """
    return sampling.pairs_by_image(by_prediction(predicted), Design.of(shifts))


@metric(label="consistency by chance", over="resamples")
def consistency_by_chance(predictions: Predictions) -> tuple[float, Floats]:
    """Return the proportion of pairs of shifts that agree by chance given the class, and its resamples.

    A network that makes the same errors, but draws them anew at each shift, has it. With P_s(c|y) the proportion of
    the images of class y whose prediction under shift s is c, it is the mean over images and pairs of different shifts
    of the sum over c of P_s(c|y) P_t(c|y).
    """
    predicted, labels = predictions.grid.predicted, predictions.grid_labels
    design, images = Design.of(predictions.grid.shifts), len(labels)
    change = np.concatenate([np.zeros((len(predicted), 1)), design.resampled()], axis=1)

    def pairs(values: Floats) -> Floats:
        total, growth = design.pairs(values)
        return total if design.complete else total + (growth * change).sum(axis=0)

    all_pairs = pairs(np.ones((len(predicted), 1)))
    chance = np.zeros(RESAMPLES + 1)  # the value, then that of each resample
    for label in np.unique(labels):
        members = labels == label
        counts = np.concatenate([np.ones((members.sum(), 1)), bootstrap_counts(images)[members]], axis=1)
        class_counts = counts.sum(axis=0)
        # Small whole numbers: single precision is exact, and twice as fast.
        class_predicted, exact_counts = predicted[:, members], counts.astype(np.float32)
        for prediction in np.unique(class_predicted):
            equal = (class_predicted == prediction).astype(np.float32)
            chance += class_counts * pairs(equal @ exact_counts / np.maximum(class_counts, 1)) / (images * all_pairs)
    return float(chance[0]), chance[1:]


@metric(label="corrected consistency", over=("consistency", "consistency_by_chance"), limits=(-inf, 1.0))
def corrected_consistency(consistency: Floats, chance: Floats) -> Floats:
    """Return (C - E) / (1 - E), nan where E is 1, of arrays of one shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected: Floats = np.where(chance < 1 - 1e-12, (consistency - chance) / (1 - chance), np.nan)
    return corrected
