"""Nearest failing shift: how far each image moves before it is classified wrong."""

from dataclasses import dataclass

import numpy as np

from shiftlab.metrics.sampling import Design
from shiftlab.shifts.predictions import GridPredictions, Labels


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

    Of images right equally often, the one whose failing shift is nearer comes first. Labels, `(M,)`, are those of the
    grid's images.
    """
    correct = grid.predicted == labels
    by_image = np.ascontiguousarray(correct.T)
    accuracy = np.average(by_image, axis=1, weights=Design.of(grid.shifts).weights)
    distance = np.hypot(*grid.shifts.astype(np.float64).T)
    nearest_first = np.lexsort((grid.shifts[:, 0], grid.shifts[:, 1], distance))
    robust = correct.all(axis=0)
    nearest = nearest_first[by_image[:, nearest_first].argmin(axis=1)]  # the first shift at which it is wrong
    order = np.lexsort((grid.images, np.where(robust, np.inf, distance[nearest]), accuracy))
    entries = []
    for column in order[correct[grid.centre, order]].tolist():
        row, failing = nearest[column], None
        if not robust[column]:
            dx, dy = grid.shifts[row].tolist()
            failing = FailingShift(dx, dy, int(grid.predicted[row, column]))
        image, label = int(grid.images[column]), int(labels[column])
        entries.append(ImageRobustness(image, label, float(accuracy[column]), failing))
    return entries
