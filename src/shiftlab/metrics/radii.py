"""Metrics by the shift's Chebyshev radius: accuracy, robust accuracy, confidence, calibration, ink, and by class."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import Estimate, bootstrap_counts, mean, percentiles, proportion, ratios, to_scalar
from shiftlab.shifts.predictions import GridPredictions, Labels

CALIBRATION_BINS = 15  # of equal width


@dataclass(frozen=True)
class AtRadius:
    """Metrics of the shifts at, or within, a Chebyshev radius in pixels."""

    radius: int
    accuracy: Estimate  # mean over the shifts at this radius
    robust_accuracy: Estimate  # proportion of images right at every shift within it; nan where a sample lacks one
    confidence: Estimate  # mean at this radius
    calibration_error: Estimate  # expected calibration error at this radius, in 0..1
    ink: Estimate  # proportion of intensity in the frame, mean at this radius
    by_class: dict[int, Estimate]  # accuracy at this radius of each class that has images


def by_radius(grid: GridPredictions, labels: Labels) -> list[AtRadius]:
    """Return the metrics at every radius of the grid, from 0; labels `(M,)` are those of the grid's images.

    Of a sample of the grid: at the shifts there are, and at radii that have some; robust accuracy, a minimum over
    shifts, where it holds all of them.
    """
    correct, radii = grid.predicted == labels, np.abs(grid.shifts.astype(np.int64)).max(axis=1)
    once = np.zeros(len(radii), dtype=np.bool_)  # a sample may hold a shift twice
    once[np.unique(grid.shifts, axis=0, return_index=True)[1]] = True
    rows, undefined = [], Estimate(nan, nan, nan, len(labels))
    for radius in np.unique(radii).tolist():
        at = once & (radii == radius)
        right, confidence = correct[at], grid.confidence[at]
        complete = (once & (radii <= radius)).sum() == (2 * radius + 1) ** 2
        rows.append(
            AtRadius(
                radius,
                accuracy=mean(right.mean(axis=0)),
                robust_accuracy=proportion(correct[radii <= radius].all(axis=0)) if complete else undefined,
                confidence=mean(confidence.mean(axis=0, dtype=np.float64)),
                calibration_error=calibration_error(confidence, right),
                ink=to_scalar(ratios(grid.ink[at].mean(axis=0, keepdims=True), grid.ink[grid.centre]), len(labels)),
                by_class={int(label): mean(right[:, labels == label].mean(axis=0)) for label in np.unique(labels)},
            )
        )
    return rows


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> Estimate:
    """Return the expected calibration error (Guo et al. 2017) over K shifts of M images, from `(K, M)` of each.

    Less the bias that resamples have (Efron and Tibshirani 1993, section 10.6; Kumar et al. 2019): a sum of absolute
    values is above 0 of a calibrated model too. Its interval is a bootstrap's over images about that value.
    """
    shifts, images = correct.shape
    probability = confidence.astype(np.float64)
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    excess = np.zeros((images, CALIBRATION_BINS))  # confidence minus accuracy, summed over an image's shifts
    np.add.at(excess, (np.broadcast_to(np.arange(images), correct.shape), bins), probability - correct)
    error = np.abs(excess.sum(axis=0)).sum() / (shifts * images)
    resampled = np.abs(excess.T @ bootstrap_counts(images)).sum(axis=0) / (shifts * images)
    bias = resampled.mean() - error
    return to_scalar(percentiles(np.clip(error - bias, 0, 1), np.clip(resampled - 2 * bias, 0, 1)), images)
