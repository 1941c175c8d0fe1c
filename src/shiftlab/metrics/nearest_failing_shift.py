"""Nearest failing shift: how far each image moves before it is classified wrong."""

from dataclasses import dataclass

import numpy as np

from shiftlab.metrics.intervals import Labels
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.predictions import GridPredictions


@dataclass(frozen=True)
class FailingShift:
    """The nearest shift at which an image is classified wrong."""

    dx: int
    dy: int
    predicted: int  # the class there


@dataclass(frozen=True)
class ImageRobustness:
    """How one test image fares under all shifts."""

    image: int  # its number in the test set
    label: int
    accuracy: float  # proportion of the grid's shifts at which it is classified right
    nearest_failing_shift: FailingShift | None  # None: it is right at every shift


def nearest_failing_shifts(grid: GridPredictions, labels: Labels) -> list[ImageRobustness]:
    """Return every image that is classified right unshifted, the least robust first.

    Labels are those of the grid's images, `(M,)`. Of images right equally often, the one whose failing shift is nearer
    comes first.
    """
    correct, weights = grid.predicted == labels, Design.of(grid.shifts).weights
    distance = np.hypot(*grid.shifts.astype(np.float64).T)
    nearest_first = np.lexsort((grid.shifts[:, 0], grid.shifts[:, 1], distance))
    entries = []
    for column in np.flatnonzero(correct[grid.centre]):
        nearest_distance, nearest = np.inf, None
        failing = nearest_first[~correct[nearest_first, column]]
        if len(failing):
            nearest_distance = distance[failing[0]]
            dx, dy = grid.shifts[failing[0]].tolist()
            nearest = FailingShift(dx, dy, int(grid.predicted[failing[0], column]))
        accuracy = float(np.average(correct[:, column], weights=weights))
        image = int(grid.images[column])
        robustness = ImageRobustness(image, int(labels[column]), accuracy, nearest)
        entries.append((accuracy, nearest_distance, image, robustness))
    return [robustness for *_, robustness in sorted(entries, key=lambda entry: entry[:3])]
