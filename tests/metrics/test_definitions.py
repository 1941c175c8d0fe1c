"""Every metric by brute force."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftlab.metrics import registry
from shiftlab.metrics.definitions.consistency import consistency_by_image
from shiftlab.metrics.intervals import Estimate
from shiftlab.metrics.sampling import Design, pairs_by_image
from shiftlab.shifts.grids import grid
from shiftlab.shifts.predictions import GridPredictions
from tests.helpers import some_predictions
from tests.metrics.grids import LABELS, PREDICTED, SHIFTS, a_grid, on_grid


def estimates(grid: GridPredictions, labels: NDArray[np.uint8]) -> dict[str, Estimate]:
    statistics = registry.measure(on_grid(grid, labels), int(np.abs(grid.shifts).max()))
    return {key: statistic.estimate for key, statistic in statistics.items()}


def test_accuracy_of_each_set() -> None:
    statistics = registry.measure(some_predictions(), 1)
    assert (statistics["right5"].estimate.value, statistics["clean"].estimate.value) == (0.75, 1.0)
    assert "translate3" not in statistics  # which was not predicted


def test_consistency_from_counts_is_that_of_all_pairs() -> None:
    pairs = list(permutations(range(25), 2))
    expected = np.mean([PREDICTED[s] == PREDICTED[t] for s, t in pairs], axis=0)
    np.testing.assert_allclose(consistency_by_image(PREDICTED, SHIFTS), expected)


def test_pairwise_accuracy_from_counts_is_that_of_all_pairs() -> None:
    right = PREDICTED == LABELS
    expected = np.mean([right[s] & right[t] for s, t in permutations(range(25), 2)], axis=0)
    np.testing.assert_allclose(pairs_by_image([right], Design.of(SHIFTS)), expected)


def chance_by_brute_force(called: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """PROTOCOL.md, "Metrics", as it is written: over classes, pairs of different images, and pairs of shifts."""
    total = 0.0
    shifts = list(permutations(range(len(called)), 2))
    for label in np.unique(true):
        images = list(permutations(np.flatnonzero(true == label), 2))
        agreeing = [called[s, i] == called[t, j] for (s, t), (i, j) in product(shifts, images)]
        total += (true == label).mean() * np.mean(agreeing)
    return total


def test_corrected_consistency_is_what_lies_beyond_chance() -> None:
    found = estimates(a_grid(), LABELS)
    consistent, chance = consistency_by_image(PREDICTED, SHIFTS).mean(), chance_by_brute_force(PREDICTED, LABELS)
    assert found["consistency"].value == pytest.approx(consistent)
    assert found["consistency_by_chance"].value == pytest.approx(chance)
    assert found["corrected_consistency"].value == pytest.approx((consistent - chance) / (1 - chance))


def test_errors_drawn_anew_at_each_shift_are_no_invariance() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 400).astype(np.uint8)
    called = np.where(rng.random((49, 400)) < 0.8, true, (true + 1) % 3).astype(np.uint8)
    found = estimates(a_grid(called, grid(3)), true)
    assert found["consistency"].value == pytest.approx(0.8**2 + 0.2**2, abs=0.01)
    assert found["corrected_consistency"].value == pytest.approx(0, abs=0.01)
    assert found["corrected_consistency"].low < found["corrected_consistency"].high


def test_same_images_failing_everywhere_are_corrected_to_one() -> None:
    true = np.repeat([0, 1, 2], 50).astype(np.uint8)
    called = np.tile(np.where(np.arange(150) % 5 == 0, (true + 1) % 3, true), (25, 1)).astype(np.uint8)
    found = estimates(a_grid(called), true)
    assert found["consistency"].value == 1
    assert found["corrected_consistency"].value == pytest.approx(1)
    assert found["pairwise_accuracy"].value == pytest.approx(0.8)


def test_network_that_gives_every_class_one_answer_has_no_corrected_consistency() -> None:
    true = np.repeat([0, 1], 20).astype(np.uint8)
    found = estimates(a_grid(np.tile(true, (25, 1))), true)["corrected_consistency"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_metrics_are_plain_numbers() -> None:
    """They go into JSON and CSV files, where NumPy's would show as such."""
    for estimate in estimates(a_grid(), LABELS).values():
        assert [type(value) for value in vars(estimate).values()] == [float, float, float, int]


def test_thousand_classes_are_counted_as_ten_are() -> None:
    called = np.random.default_rng(6).integers(0, 1000, (25, 30)).astype(np.uint16)
    called[:, :5] = [7, 999, 256, 255, 0]
    expected = np.mean([called[s] == called[t] for s, t in permutations(range(25), 2)], axis=0)
    np.testing.assert_allclose(consistency_by_image(called, SHIFTS), expected)
    assert expected[:5].tolist() == [1] * 5
