import numpy as np
import pytest

from shiftlab.metrics.intervals import proportion
from shiftlab.metrics.maps import maps
from tests.metrics.grids import LABELS, PREDICTED, SHIFTS, a_grid


def test_maps_have_a_row_for_each_dy() -> None:
    found = {name: one.value for name, one in maps(a_grid(), LABELS).items()}
    known = PREDICTED[12] == LABELS
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        assert found["accuracy"][place] == pytest.approx((PREDICTED[row] == LABELS).mean())
        assert found["agreement"][place] == pytest.approx((PREDICTED[row] == PREDICTED[12]).mean())
        assert found["agreement where right"][place] == pytest.approx((PREDICTED[row] == PREDICTED[12])[known].mean())
        assert found["euclidean distance"][place] == pytest.approx(a_grid().euclidean[row].astype(float).mean())
        assert found["ink"][place] == pytest.approx(a_grid().ink[row].mean() / 1000)
    assert found["agreement"][2, 2] == found["agreement where right"][2, 2] == 1


def test_maps_of_a_sample_know_what_was_not_evaluated() -> None:
    rows = [12, 0, 24, 7]
    found = maps(a_grid(PREDICTED[rows], SHIFTS[rows]), LABELS)["accuracy"].value
    assert np.isfinite(found).sum() == 4
    assert found[2, 2] == pytest.approx((PREDICTED[12] == LABELS).mean())
    assert found[4, 4] == pytest.approx((PREDICTED[24] == LABELS).mean())


def test_agreement_where_nothing_is_right_is_unknown() -> None:
    assert np.isnan(maps(a_grid(), LABELS + 5)["agreement where right"].value).all()


def test_intervals_of_the_maps_of_proportions_are_wilsons() -> None:
    found = maps(a_grid(), LABELS)
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        for table, labels in ((found["accuracy"], LABELS), (found["agreement"], PREDICTED[12])):
            one = proportion(PREDICTED[row] == labels)
            assert [table.low[place], table.high[place]] == pytest.approx([one.low, one.high], abs=1e-12)
    assert found["accuracy"].reach == pytest.approx((found["accuracy"].high - found["accuracy"].low).max() / 2)
