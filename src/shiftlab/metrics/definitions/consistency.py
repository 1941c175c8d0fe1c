"""Consistency: the chance that an image gets the same prediction at two different shifts (Zhang 2019), exact."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import sampling
from shiftlab.metrics.intervals import Floats, Labels
from shiftlab.metrics.registry import metric
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import Predictions


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
