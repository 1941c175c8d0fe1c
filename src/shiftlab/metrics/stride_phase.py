"""Accuracy by stride phase: the shift's remainder after division by the period, in which aliasing shows as stripes."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import Estimates, means
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts


def phases(correct: NDArray[np.bool_], shifts: Shifts, period: int) -> Estimates:
    """Return the accuracy, of `(S, M)`, by (dx mod period, dy mod period), `(period, period)`: row dy, column dx.

    Only as many shifts as make whole periods count, so that every phase has equally many, about the centre. Where a
    sample of the grid has none of a phase, it is nan.
    """
    offsets, weights = shifts.astype(np.int64), Design.of(shifts).weights
    side = 2 * int(np.abs(offsets).max()) + 1
    first = -(side // period * period // 2)
    inside = ((first <= offsets) & (offsets < first + side // period * period)).all(axis=1) & (weights > 0)
    by_phase = np.full((period, period, correct.shape[1]), np.nan)
    for dy, dx in np.ndindex(period, period):
        members = inside & (offsets % period == (dx, dy)).all(axis=1)
        if members.any():
            by_phase[dy, dx] = np.average(correct[members], axis=0, weights=weights[members])
    flat = means(by_phase.reshape(period**2, -1))
    return Estimates(*(values.reshape(period, period) for values in vars(flat).values()))
