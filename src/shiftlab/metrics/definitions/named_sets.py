"""Accuracy on each named evaluation set: clean, right5, right4, translate3, random5."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.registry import metric
from shiftlab.shifts.grids import NAMED_SETS
from shiftlab.shifts.predictions import Predictions

LABELS = {
    "clean": "accuracy, unshifted",
    "right5": "accuracy, 5 px right",
    "right4": "accuracy, 4 px right",
    "translate3": "accuracy, 3 px along both axes",
    "random5": "accuracy, up to 5 px",
}


def accuracy_on(name: str) -> Callable[[Predictions], NDArray[np.bool_] | None]:
    """Return the function that says which images of a named set are classified right, `(N,)`."""

    def correct(predictions: Predictions) -> NDArray[np.bool_] | None:
        on_set = predictions.sets.get(name)
        return None if on_set is None else on_set.predicted == predictions.labels

    return correct


for _name in NAMED_SETS:
    metric(name=_name, label=LABELS.get(_name, f"accuracy, {_name}"), over="images")(accuracy_on(_name))
