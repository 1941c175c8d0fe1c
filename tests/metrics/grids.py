"""Grids of made-up predictions."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.shifts.grids import grid
from shiftlab.shifts.predictions import GridPredictions, Predictions
from tests.helpers import ABOUT

RNG = np.random.default_rng(0)
SHIFTS = grid(2)
PREDICTED = RNG.integers(0, 3, (25, 7)).astype(np.uint8)
LABELS = RNG.integers(0, 3, 7).astype(np.uint8)


def a_grid(predicted: NDArray[np.uint8] = PREDICTED, shifts: NDArray[np.int8] = SHIFTS) -> GridPredictions:
    """Return predictions `(S, M)` as a grid, with made-up confidences, distances and ink."""
    confidence = np.random.default_rng(1).random(predicted.shape).astype(np.float16)
    images = np.arange(100, 100 + predicted.shape[1], dtype=np.int32)
    ink = np.random.default_rng(2).integers(0, 1000, predicted.shape, dtype=np.int32)
    ink[len(shifts) // 2] = 1000  # all of it, unshifted
    return GridPredictions(images, shifts, predicted, confidence, confidence, confidence, ink)


def on_grid(grid: GridPredictions, labels: NDArray[np.unsignedinteger]) -> Predictions:
    """Return the predictions that hold a grid and nothing else; labels `(M,)` of its images."""
    everything = np.zeros(int(grid.images.max()) + 1, dtype=labels.dtype)
    everything[grid.images] = labels
    nothing = np.zeros((0, len(everything)), dtype=labels.dtype)
    return Predictions(
        ABOUT, everything, {}, np.zeros((0, 2), np.int8), nothing, np.zeros(0, np.float32), nothing, grid
    )
