"""Accuracy against the shift: along a direction, by parts of a pixel, and the moves that a model survives."""

import numpy as np

from shiftlab.metrics.intervals import Estimate, Floats, proportion
from shiftlab.shifts.grids import line
from shiftlab.shifts.predictions import Predictions

SURVIVING = 0.9  # of the unmoved accuracy

Curve = list[tuple[int, Estimate]]  # (step in pixels, accuracy there)


def along(predictions: Predictions, direction: str, radius: int) -> Curve:
    """Return the accuracy of the grid's images at each step -radius..radius along a direction, steps in pixels.

    KeyError: a shift was not predicted.
    """
    rows = predictions.along(line(direction, radius))
    steps = zip(range(-radius, radius + 1), rows, strict=True)
    return [(step, proportion(row == predictions.grid_labels)) for step, row in steps]


def of_fractions(predictions: Predictions) -> list[tuple[float, Estimate]]:
    """Return the accuracy at each shift by parts of a pixel to the right, of the grid's images."""
    rows = zip(predictions.fractions.tolist(), predictions.on_fractions, strict=True)
    return [(pixels, proportion(row == predictions.grid_labels)) for pixels, row in rows]


def moves_survived(accuracies: Floats) -> int:
    """Return the largest horizontal move, in pixels, that keeps 90% of the unmoved accuracy, in every training.

    It is the largest m with that at every shift of at most m pixels, left and right. Accuracies are
    `(seeds, 2 radius + 1)`, at each shift from -radius to radius.
    """
    radius = accuracies.shape[1] // 2
    surviving = np.all(accuracies >= SURVIVING * accuracies[:, [radius]] - 1e-12, axis=0)
    both = surviving[radius:] & surviving[radius::-1]  # by distance
    return int(np.cumprod(both).sum()) - 1
