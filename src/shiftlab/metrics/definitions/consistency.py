"""Agreement with the unshifted image's prediction, and consistency: that of two shifts (Zhang 2019).

PROTOCOL.md, "Corrected consistency", says why chance is taken off, and how.
"""

from collections.abc import Iterator
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import sampling
from shiftlab.metrics.intervals import RESAMPLES, Floats, Resampled
from shiftlab.metrics.registry import metric
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import Predictions


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


def by_prediction(predicted: NDArray[np.integer]) -> Iterator[NDArray[np.bool_]]:
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


def consistency_by_image(predicted: NDArray[np.integer], shifts: Shifts) -> Floats:
    """Return each image's consistency over the whole grid, `(M,)`, from predictions `(S, M)` at shifts `(S, 2)`.

    Exact of all shifts: with n_c the number of shifts at which the prediction is c, the sum of n_c (n_c - 1) over
    S (S - 1). Of a sample it is an unbiased estimate.
    """
    return sampling.pairs_by_image(by_prediction(predicted), Design.of(shifts))


@metric(label="consistency by chance", over="resamples")
def consistency_by_chance(predictions: Predictions) -> Resampled:
    """Return the proportion of pairs of shifts that agree by chance given the class.

    A network that makes the same errors, but draws them anew at each shift, has it.
    """
    return _consistency_and_chance(predictions)[1]


@metric(label="corrected consistency", over="resamples", limits=(-inf, 1.0))
def corrected_consistency(predictions: Predictions) -> Resampled:
    """Return (C - E) / (1 - E) of consistency C and that by chance, E; nan where E is 1."""
    consistency, chance = _consistency_and_chance(predictions)
    value = float(_beyond_chance(np.array(consistency.value), np.array(chance.value)))
    with np.errstate(invalid="ignore", divide="ignore"):
        growth = (consistency.by_image - chance.by_image - value * (1 - chance.by_image)) / (1 - chance.value)
    return Resampled(value, _beyond_chance(consistency.resamples, chance.resamples), value + growth)


def _beyond_chance(consistency: Floats, chance: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected: Floats = np.where(chance < 1 - 1e-12, (consistency - chance) / (1 - chance), np.nan)
    return corrected


def _consistency_and_chance(predictions: Predictions) -> tuple[Resampled, Resampled]:
    """Return consistency and what of it is chance, both of the images whose class has another.

    By chance: the agreement of an image with the others of its class at another shift, mean over images (a U-statistic,
    Hoeffding 1948). Resamples are of its first order, in which an image's part is twice its own mean less that of its
    class.
    """
    design = Design.of(predictions.grid.shifts)
    _, classes, sizes = np.unique(predictions.grid_labels, return_inverse=True, return_counts=True)
    kept = sizes[classes] > 1
    if not kept.any():
        undefined = Resampled(nan, np.full(RESAMPLES, nan), np.zeros(0))
        return undefined, undefined
    predicted, classes = predictions.grid.predicted[:, kept], classes[kept]
    own, own_growth = sampling.sum_pairs(by_prediction(predicted), design)
    pairs, growth = -own, -own_growth  # an image is no other of its class
    for members in (np.flatnonzero(classes == label) for label in np.unique(classes)):
        of_class = predicted[:, members]
        for prediction in np.unique(of_class):
            equal = (of_class == prediction).astype(np.float64)
            with_class, with_growth = design.pairs(equal, equal.sum(axis=1, keepdims=True))
            pairs[members] += with_class
            growth[:, members] += with_growth
        for sums in (pairs, growth):
            mean = sums[..., members] / (len(members) - 1)
            sums[..., members] = 2 * mean - mean.mean(axis=-1, keepdims=True)
    return sampling.resampled_pairs(own, own_growth, design), sampling.resampled_pairs(pairs, growth, design)
