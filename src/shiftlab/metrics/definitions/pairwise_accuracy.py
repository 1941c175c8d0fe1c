"""Pairwise accuracy: the chance that an image is classified right at both of two different shifts."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="pairwise accuracy", over="pairs")
def pairwise_accuracy(predictions: Predictions) -> list[NDArray[np.bool_]]:
    """Return the one array that counts: where an image is classified right, `(S, M)`."""
    return [predictions.grid.predicted == predictions.grid_labels]
