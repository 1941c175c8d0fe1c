import numpy as np
import pytest

from shiftlab.metrics.stride_phase import phases
from shiftlab.shifts.grids import grid


@pytest.mark.parametrize("period", [1, 2, 4, 5])
def test_stripes_show_in_the_phase_they_have(period: int) -> None:
    shifts = grid(7)
    striped = (shifts % period == (period - 1, 0)).all(axis=1)
    table = phases(np.repeat(striped[:, None], 3, axis=1), shifts, period)
    expected = np.zeros((period, period))
    expected[0, period - 1] = 1
    assert table.value.tolist() == table.low.tolist() == table.high.tolist() == expected.tolist()


def test_every_phase_has_as_many_shifts_about_the_centre() -> None:
    shifts = grid(7)
    dx = shifts[:, :1].astype(float)
    for period in (2, 4):  # of 15 shifts the outermost is left out: -7..6 or -6..5, say
        columns = phases(np.repeat(np.abs(dx) == 7, 2, axis=1), shifts, period)
        assert columns.value.sum() <= 1 / (15 // period) * period
