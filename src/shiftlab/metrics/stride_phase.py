"""Accuracy by stride phase: the shift's remainder after division by the period, in which aliasing shows as stripes."""

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import Estimates, means
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts


def phases(correct: NDArray[np.bool_], shifts: Shifts, period: int) -> Estimates:
    """Return the accuracy by (dx mod period, dy mod period), `(period, period)`: row dy, column dx.

    Only as many shifts as make whole periods count, so that every phase has equally many, about the centre. Where a
    sample of the grid has none of a phase, it is nan.

    Args:
        correct: `(S, M)`.
    """
    offsets, weights = shifts.astype(np.int64), Design.of(shifts).weights
    radius = int(np.abs(offsets).max())
    first = -((2 * radius + 1) // period * period // 2)
    last = first + (2 * radius + 1) // period * period - 1
    inside = ((first <= offsets) & (offsets <= last)).all(axis=1) & (weights > 0)
    of_phase = []
    for dy in range(period):
        for dx in range(period):
            members = inside & (offsets % period == (dx, dy)).all(axis=1)
            nothing = np.full(correct.shape[1], np.nan)
            of_phase.append(
                np.average(correct[members], axis=0, weights=weights[members]) if members.any() else nothing
            )
    flat = means(np.stack(of_phase))
    return Estimates(*(values.reshape(period, period) for values in (flat.value, flat.low, flat.high)))
