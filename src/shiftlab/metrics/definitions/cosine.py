"""Sensitivity: the mean cosine distance of the class probabilities from the unshifted image's."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="sensitivity (cosine)", over="shifts", unit="", needs_labels=False)
def cosine(predictions: Predictions) -> NDArray[np.floating]:
    """Return one minus the cosine of the angle at each shift of each image, `(S, M)`."""
    return predictions.grid.cosine
