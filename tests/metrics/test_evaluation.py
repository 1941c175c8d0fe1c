from dataclasses import replace

import numpy as np
import pytest

from shiftlab.metrics import evaluation
from shiftlab.metrics.evaluation import Metrics
from tests.helpers import ABOUT, some_predictions


def some_metrics() -> Metrics:
    return evaluation.evaluate(some_predictions(), radius=1, phase=1)


def test_metrics_are_those_of_the_predictions() -> None:
    found = some_metrics()
    assert (found.images, found.grid_images, found.radius) == (4, 3, 1)
    assert {name: one.value for name, one in list(found.estimates.items())[:2]} == {"clean": 1.0, "right5": 0.75}
    assert [(pixels, one.value) for pixels, one in found.fractions] == [(0.0, 1.0), (0.5, 2 / 3)]
    third = 1 / 3
    expected = [[2 * third] * 3, [third, 2 * third, 2 * third], [third] * 3]
    np.testing.assert_allclose(found.maps["accuracy"].value, expected)
    np.testing.assert_allclose(found.maps["ink"].value, [[0.2, 0.6, 0.4], [0.8, 1, 0.8], [0.6, 0.4, 0]])
    assert found.estimates["grid"].value == np.mean(expected)
    assert found.estimates["robust_accuracy_1"].value == third
    assert found.estimates["grid"].images == 3
    assert [at.accuracy.value for at in found.radii] == pytest.approx([2 * third, (np.sum(expected) - 2 * third) / 8])
    assert [one.image for one in found.nearest_failing_shifts] == [3, 0]


def test_canvas_is_a_boundary_of_its_own() -> None:
    assert evaluation.boundary_name(ABOUT) == "zero"
    assert evaluation.boundary_name(replace(ABOUT, canvas=True)) == "canvas"
    assert evaluation.boundary_name(replace(ABOUT, canvas=True, boundary="circular")) == "circular"


def test_sample_is_known_for_one() -> None:
    assert some_metrics().complete
    assert not replace(some_metrics(), shifts=7).complete
