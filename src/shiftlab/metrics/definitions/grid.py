"""Accuracy over the grid: the mean over all shifts and images."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="accuracy over the grid", over="shifts")
def grid(predictions: Predictions) -> NDArray[np.bool_]:
    """Return where an image is classified right, `(S, M)`."""
    correct: NDArray[np.bool_] = predictions.grid.predicted == predictions.grid_labels
    return correct
