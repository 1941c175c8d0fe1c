"""Robust accuracy: the proportion of images classified right at every shift within 3 pixels (Engstrom et al. 2019)."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.grids import ANCHOR_RADIUS
from shiftlab.shifts.predictions import Predictions


@metric(label="robust accuracy within {within} px", over="images", within=ANCHOR_RADIUS)
def robust_accuracy(predictions: Predictions) -> NDArray[np.bool_]:
    """Return which images of the grid are classified right at every shift within the radius, `(M,)`."""
    correct: NDArray[np.bool_] = (predictions.grid.predicted == predictions.grid_labels).all(axis=0)
    return correct
