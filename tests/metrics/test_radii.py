from collections import Counter

import numpy as np
import pytest

from shiftlab.metrics.radii import by_radius
from tests.metrics.grids import LABELS, PREDICTED, SHIFTS, a_grid


def test_metrics_by_radius() -> None:
    found = by_radius(a_grid(), LABELS)
    assert [at.radius for at in found] == [0, 1, 2]
    right = PREDICTED == LABELS
    for at in found:
        here = np.array([max(abs(dx), abs(dy)) == at.radius for dx, dy in SHIFTS.tolist()])
        within = np.array([max(abs(dx), abs(dy)) <= at.radius for dx, dy in SHIFTS.tolist()])
        assert at.accuracy.value == pytest.approx(right[here].mean())
        assert at.robust_accuracy.value == pytest.approx(right[within].all(axis=0).mean())
        assert at.confidence.value == pytest.approx(a_grid().confidence[here].astype(float).mean())
        assert {digit: one.images for digit, one in at.by_class.items()} == dict(Counter(LABELS.tolist()))
        for digit, one in at.by_class.items():
            assert one.value == pytest.approx(right[here][:, digit == LABELS].mean())
        assert at.ink.value == pytest.approx(a_grid().ink[here].mean() / 1000)
    assert found[0].accuracy.value == found[0].robust_accuracy.value
