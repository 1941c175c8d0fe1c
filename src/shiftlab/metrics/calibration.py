"""Expected calibration error (Guo et al. 2017)."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import Estimate, bootstrap_counts, percentiles, to_scalar

BINS = 15  # of equal width


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> Estimate:
    """Return the expected calibration error, with its bootstrap interval over images.

    Args:
        confidence, correct: `(K, M)`, for K shifts of M images.
    """
    shifts, images = correct.shape
    certain = confidence.astype(np.float64)
    bins = np.minimum((certain * BINS).astype(np.int64), BINS - 1)
    excess = np.zeros((images, BINS))  # confidence minus accuracy, summed over an image's shifts
    np.add.at(excess, (np.broadcast_to(np.arange(images), correct.shape), bins), certain - correct)
    error = np.abs(excess.sum(axis=0)).sum() / (shifts * images)
    resampled = np.abs(excess.T @ bootstrap_counts(images)).sum(axis=0) / (shifts * images)
    return to_scalar(percentiles(error, resampled), images)
