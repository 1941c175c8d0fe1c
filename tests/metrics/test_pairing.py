import numpy as np
import pytest

from shiftlab.metrics import metrics, pairing
from shiftlab.shifts.grids import Shifts, grid, sample
from shiftlab.shifts.predictions import GridPredictions

LABELS = np.random.default_rng(0).integers(0, 5, 60).astype(np.uint8)


def made_up(shifts: Shifts, right: float, seed: int) -> GridPredictions:
    rng = np.random.default_rng(seed)
    size = (len(shifts), len(LABELS))
    wrong = rng.random(size) > right
    predicted = np.where(wrong, (LABELS + rng.integers(1, 5, size)) % 5, LABELS).astype(np.uint8)
    blank = np.zeros(size, np.float16)
    return GridPredictions(
        np.arange(len(LABELS), dtype=np.int32), shifts, predicted, blank, blank, blank, np.ones(size, np.int32)
    )


@pytest.mark.parametrize("shifts", [grid(3), sample(5, 30, 0)])
def test_differences_are_those_of_the_metrics(shifts: Shifts) -> None:
    models = {"good": made_up(shifts, 0.9, 1), "bad": made_up(shifts, 0.5, 2), "same": made_up(shifts, 0.9, 1)}
    every = {name: metrics.over_grid(one, LABELS) for name, one in models.items()}
    found = pairing.differences(models, LABELS)
    assert len(found) == 3 * len(pairing.METRICS)
    for one in found:
        by = every[one.first][one.metric].value - every[one.second][one.metric].value
        assert one.by == pytest.approx(by, abs=1e-12)
        assert one.corrected >= one.p
        if {one.first, one.second} == {"good", "same"}:
            assert (one.by, one.low, one.high, one.p) == (0, 0, 0, 1)
        else:
            assert one.low <= one.by <= one.high
            assert one.p <= 0.002 + 1e-12


def test_pairing_tells_more_than_two_intervals() -> None:
    """A model that errs where another does, and at one shift more: the same images are hard for both."""
    shifts = grid(2)
    first = made_up(shifts, 0.6, 1)
    worse = first.predicted.copy()
    worse[0] = (LABELS + 1) % 5
    second = GridPredictions(**{**vars(first), "predicted": worse})
    (grid_difference, *_) = pairing.differences({"first": first, "second": second}, LABELS)
    apart = metrics.over_grid(first, LABELS)["grid"]
    assert grid_difference.high - grid_difference.low < (apart.high - apart.low) / 2
