"""Agreement: the proportion of shifts and images at which the prediction is that for the unshifted image."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.predictions import Predictions


@metric(label="agreement with unshifted", over="shifts", needs_labels=False)
def agreement(predictions: Predictions) -> NDArray[np.bool_]:
    """Return where the prediction is that for the unshifted image, `(S, M)`."""
    grid = predictions.grid
    agreeing: NDArray[np.bool_] = grid.predicted == grid.predicted[grid.centre]
    return agreeing
