"""Metrics by the shift's Chebyshev radius: accuracy, robust accuracy, confidence, calibration, ink, and by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.calibration import calibration_error
from shiftlab.metrics.intervals import Estimate, Labels, mean, proportion, ratios, to_scalar
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import GridPredictions


def chebyshev_radius(shifts: Shifts) -> NDArray[np.int64]:
    """Return the Chebyshev radius of each shift, `(S, 2)` -> `(S,)`."""
    largest: NDArray[np.int64] = np.abs(shifts.astype(np.int64)).max(axis=1)
    return largest


@dataclass(frozen=True)
class AtRadius:
    """Metrics of the shifts at, or within, a Chebyshev radius in pixels."""

    radius: int
    accuracy: Estimate  # mean over the shifts at this radius
    robust_accuracy: Estimate  # proportion of images right at every shift within it
    confidence: Estimate  # mean at this radius
    calibration_error: Estimate  # expected calibration error at this radius, in 0..1
    ink: Estimate  # proportion of intensity in the frame, mean at this radius
    by_class: dict[int, Estimate]  # accuracy at this radius of each class that has images


def by_radius(grid: GridPredictions, labels: Labels) -> list[AtRadius]:
    """Return the metrics at every radius of the grid, from 0; labels `(M,)` are those of the grid's images.

    Of a sample of the grid: at the shifts there are, and at radii that have some.
    """
    correct, ring = grid.predicted == labels, chebyshev_radius(grid.shifts)
    once = np.zeros(len(ring), dtype=np.bool_)
    once[np.unique(grid.shifts, axis=0, return_index=True)[1]] = True
    rows = []
    for radius in np.unique(ring).tolist():
        at, within = once & (ring == radius), ring <= radius
        rows.append(
            AtRadius(
                radius,
                accuracy=mean(correct[at].mean(axis=0)),
                robust_accuracy=proportion(correct[within].all(axis=0)),
                confidence=mean(grid.confidence[at].mean(axis=0, dtype=np.float64)),
                calibration_error=calibration_error(grid.confidence[at], correct[at]),
                ink=to_scalar(ratios(grid.ink[at].mean(axis=0, keepdims=True), grid.ink[grid.centre]), len(labels)),
                by_class={
                    int(label): mean(correct[at][:, labels == label].mean(axis=0)) for label in np.unique(labels)
                },
            )
        )
    return rows
