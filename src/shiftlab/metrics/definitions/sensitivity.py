"""Sensitivity: the mean distance of the class probabilities from the unshifted image's, cosine and Euclidean."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="sensitivity (cosine)", over="shifts", unit="", needs_labels=False)
def cosine(predictions: Predictions) -> NDArray[np.floating]:
    """Return one minus the cosine of the angle at each shift of each image, `(S, M)`."""
    return predictions.grid.cosine


@metric(label="sensitivity (L2)", over="shifts", unit="", needs_labels=False, limits=(0.0, sqrt(2)))
def euclidean(predictions: Predictions) -> NDArray[np.floating]:
    """Return the Euclidean distance at each shift of each image, `(S, M)`."""
    return predictions.grid.euclidean
