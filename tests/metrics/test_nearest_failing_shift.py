import numpy as np

from shiftlab.metrics.nearest_failing_shift import FailingShift, ImageRobustness, nearest_failing_shifts
from shiftlab.shifts.grids import grid
from tests.metrics.grids import a_grid


def test_images_right_unshifted_have_a_nearest_failing_shift() -> None:
    shifts = grid(2)
    right = np.ones((25, 4), dtype=bool)
    at = {tuple(shift): row for row, shift in enumerate(shifts.tolist())}
    right[[at[2, 2], at[0, -2], at[1, 1]], 0] = False
    right[at[-2, 0], 1] = False
    right[at[0, 0], 2] = False
    called = np.where(right, 5, 8).astype(np.uint8)
    found = nearest_failing_shifts(a_grid(called, shifts), np.full(4, 5, np.uint8))
    assert found == [
        ImageRobustness(100, 5, 22 / 25, FailingShift(1, 1, 8)),
        ImageRobustness(101, 5, 24 / 25, FailingShift(-2, 0, 8)),
        ImageRobustness(103, 5, 1.0, None),
    ]
