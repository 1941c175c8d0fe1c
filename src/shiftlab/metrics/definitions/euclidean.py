"""Sensitivity: the mean Euclidean distance of the class probabilities from the unshifted image's."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="sensitivity (L2)", over="shifts", unit="", needs_labels=False, limits=(0.0, sqrt(2)))
def euclidean(predictions: Predictions) -> NDArray[np.floating]:
    """Return the distance at each shift of each image, `(S, M)`."""
    return predictions.grid.euclidean
