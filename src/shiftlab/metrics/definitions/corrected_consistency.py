"""Corrected consistency: what of the consistency lies beyond chance, 0 at chance and 1 where the same images fail."""

from math import inf

import numpy as np

from shiftlab.metrics.intervals import Floats
from shiftlab.metrics.registry import metric


@metric(label="corrected consistency", over=("consistency", "consistency_by_chance"), limits=(-inf, 1.0))
def corrected_consistency(consistency: Floats, chance: Floats) -> Floats:
    """Return (C - E) / (1 - E), nan where E is 1, of arrays of one shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected: Floats = np.where(chance < 1 - 1e-12, (consistency - chance) / (1 - chance), np.nan)
    return corrected
