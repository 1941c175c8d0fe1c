from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftlab.metrics import intervals, metrics
from shiftlab.metrics.metrics import ClassScores, FailingShift, ImageRobustness
from shiftlab.shifts.grids import grid
from shiftlab.shifts.predictions import GridPredictions
from tests.helpers import DIGITS, some_predictions


def digits(*values: int) -> NDArray[np.uint8]:
    return np.array(values, dtype=np.uint8)


LABELS = digits(0, 0, 1, 1)


def test_accuracy_of_each_set() -> None:
    shares = metrics.accuracies(some_predictions())
    assert {name: share.value for name, share in shares.items()} == {"right5": 0.75, "clean": 1.0}


def test_curve_runs_from_left_to_right() -> None:
    curve = metrics.curve(some_predictions(), "x", 1)
    assert [(step, share.value) for step, share in curve] == [(-1, 0.75), (0, 0.0), (1, 0.0)]


def test_curve_over_more_than_was_computed_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        metrics.curve(some_predictions(), "y", 2)


@pytest.mark.parametrize(
    ("accuracies", "moves"),
    [
        ([[0.9, 0.9, 1.0, 0.9, 0.9]], 2),  # as far as was measured
        ([[0.9, 0.9, 1.0, 0.9, 0.8]], 1),  # to the right it fails
        ([[0.9, 0.8, 1.0, 0.9, 0.9]], 0),  # what it has right farther off does not count
        ([[0.9, 0.9, 1.0, 0.9, 0.9], [0.5, 0.54, 0.6, 0.55, 0.6]], 1),  # in every training
        ([[0.63, 0.7, 0.63]], 1),  # exactly 90%
    ],
)
def test_moves_survived_keep_nine_tenths_of_the_unmoved_accuracy(accuracies: list[list[float]], moves: int) -> None:
    assert metrics.moves_survived(np.array(accuracies)) == moves


RNG = np.random.default_rng(0)
SHIFTS = grid(2)
CALLED = RNG.integers(0, 3, (25, 7)).astype(np.uint8)
TRUE = RNG.integers(0, 3, 7).astype(np.uint8)


def a_grid(called: NDArray[np.uint8] = CALLED, shifts: NDArray[np.int8] = SHIFTS) -> GridPredictions:
    confidence = np.random.default_rng(1).random(called.shape).astype(np.float16)
    images = np.arange(100, 100 + called.shape[1], dtype=np.int32)
    ink = np.random.default_rng(2).integers(0, 1000, called.shape, dtype=np.int32)
    ink[len(shifts) // 2] = 1000  # all of it, unshifted
    return GridPredictions(images, shifts, called, confidence, confidence, confidence, ink)


def test_maps_have_a_row_for_each_dy() -> None:
    found = {name: one.value for name, one in metrics.maps(a_grid(), TRUE).items()}
    known = CALLED[12] == TRUE
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        assert found["accuracy"][place] == pytest.approx((CALLED[row] == TRUE).mean())
        assert found["agreement"][place] == pytest.approx((CALLED[row] == CALLED[12]).mean())
        assert found["agreement where right"][place] == pytest.approx((CALLED[row] == CALLED[12])[known].mean())
        assert found["euclidean distance"][place] == pytest.approx(a_grid().euclidean[row].astype(float).mean())
        assert found["ink"][place] == pytest.approx(a_grid().ink[row].mean() / 1000)
    assert found["agreement"][2, 2] == found["agreement where right"][2, 2] == 1


def test_maps_of_a_sample_know_what_was_not_evaluated() -> None:
    rows = [12, 0, 24, 7]
    found = metrics.maps(a_grid(CALLED[rows], SHIFTS[rows]), TRUE)["accuracy"].value
    assert np.isfinite(found).sum() == 4
    assert found[2, 2] == pytest.approx((CALLED[12] == TRUE).mean())
    assert found[4, 4] == pytest.approx((CALLED[24] == TRUE).mean())


def test_agreement_where_nothing_is_right_is_unknown() -> None:
    assert np.isnan(metrics.maps(a_grid(), TRUE + 5)["agreement where right"].value).all()


def test_consistency_from_counts_is_that_of_all_pairs() -> None:
    pairs = list(permutations(range(25), 2))
    expected = np.mean([CALLED[s] == CALLED[t] for s, t in pairs], axis=0)
    np.testing.assert_allclose(metrics.consistency(CALLED), expected)


def test_metrics_by_radius() -> None:
    found = metrics.by_radius(a_grid(), TRUE)
    assert [at.radius for at in found] == [0, 1, 2]
    right = CALLED == TRUE
    for at in found:
        here = np.array([max(abs(dx), abs(dy)) == at.radius for dx, dy in SHIFTS.tolist()])
        within = np.array([max(abs(dx), abs(dy)) <= at.radius for dx, dy in SHIFTS.tolist()])
        assert at.accuracy.value == pytest.approx(right[here].mean())
        assert at.robust_accuracy.value == pytest.approx(right[within].all(axis=0).mean())
        assert at.confidence.value == pytest.approx(a_grid().confidence[here].astype(float).mean())
        assert {digit: one.images for digit, one in at.by_class.items()} == dict(Counter(TRUE.tolist()))
        for digit, one in at.by_class.items():
            assert one.value == pytest.approx(right[here][:, digit == TRUE].mean())
        assert at.ink.value == pytest.approx(a_grid().ink[here].mean() / 1000)
    assert found[0].accuracy.value == found[0].robust_accuracy.value


def test_intervals_of_the_maps_of_shares_are_wilsons() -> None:
    found = metrics.maps(a_grid(), TRUE)
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        for table, labels in ((found["accuracy"], TRUE), (found["agreement"], CALLED[12])):
            one = metrics.accuracy(CALLED[row], labels)
            assert [table.low[place], table.high[place]] == pytest.approx([one.low, one.high], abs=1e-12)
    assert found["accuracy"].reach == pytest.approx((found["accuracy"].high - found["accuracy"].low).max() / 2)


def test_fidelity_from_counts_is_that_of_all_pairs() -> None:
    right = CALLED == TRUE
    expected = np.mean([right[s] & right[t] for s, t in permutations(range(25), 2)], axis=0)
    np.testing.assert_allclose(metrics.pairwise_accuracy(right), expected)


def chance_by_brute_force(called: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """PROTOCOL.md, "Corrected consistency", as it is written: over classes, pairs of shifts, and answers."""
    total = 0.0
    pairs = list(permutations(range(len(called)), 2))
    for label in np.unique(true):
        of_class = called[:, true == label]
        shares = {answer: (of_class == answer).mean(axis=1) for answer in range(10)}
        agreeing = sum(shares[answer][s] * shares[answer][t] for (s, t), answer in product(pairs, range(10)))
        total += (true == label).mean() * agreeing / len(pairs)
    return total


def test_corrected_consistency_is_what_lies_beyond_chance() -> None:
    found = metrics.over_grid(a_grid(), TRUE)
    consistent, chance = metrics.consistency(CALLED).mean(), chance_by_brute_force(CALLED, TRUE)
    assert found["consistency"].value == pytest.approx(consistent)
    assert found["consistency_by_chance"].value == pytest.approx(chance)
    assert found["corrected_consistency"].value == pytest.approx((consistent - chance) / (1 - chance))


def test_errors_drawn_anew_at_each_shift_are_no_invariance() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 400).astype(np.uint8)
    called = np.where(rng.random((49, 400)) < 0.8, true, (true + 1) % 3).astype(np.uint8)
    found = metrics.over_grid(a_grid(called, grid(3)), true)
    assert found["consistency"].value == pytest.approx(0.8**2 + 0.2**2, abs=0.01)
    assert found["corrected_consistency"].value == pytest.approx(0, abs=0.01)
    assert found["corrected_consistency"].low < found["corrected_consistency"].high


def test_same_images_failing_everywhere_are_corrected_to_one() -> None:
    true = np.repeat([0, 1, 2], 50).astype(np.uint8)
    called = np.tile(np.where(np.arange(150) % 5 == 0, (true + 1) % 3, true), (25, 1)).astype(np.uint8)
    found = metrics.over_grid(a_grid(called), true)
    assert found["consistency"].value == 1
    assert found["corrected_consistency"].value == pytest.approx(1)
    assert found["pairwise_accuracy"].value == pytest.approx(0.8)


def test_network_that_gives_every_class_one_answer_has_no_corrected_consistency() -> None:
    true = np.repeat([0, 1], 20).astype(np.uint8)
    found = metrics.over_grid(a_grid(np.tile(true, (25, 1))), true)["corrected_consistency"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_calibration_error_is_guos() -> None:
    confidence = np.array([[0.99, 0.98, 0.97, 0.51], [0.52, 1.0, 0.0, 0.5]])
    right = np.array([[True, True, False, True], [False, True, False, False]])
    expected = 0.0
    for low in np.arange(15) / 15:
        members = (confidence >= low) & ((confidence < low + 1 / 15) | ((low == 14 / 15) & (confidence == 1)))
        if members.any():
            expected += members.mean() * abs(confidence[members].mean() - right[members].mean())
    found = metrics.calibration_error(confidence, right)
    assert found.value == pytest.approx(expected)
    assert found.images == 4


def test_calibration_errors_interval_resamples_images() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random((1, 400)) < 0.3, 3, axis=0)  # what an image's shifts have in common
    found = metrics.calibration_error(np.ones((3, 400)), right)
    share = intervals.mean(right[0].astype(float))
    assert [found.value, found.low, found.high] == pytest.approx(
        [1 - share.value, 1 - share.high, 1 - share.low], abs=0.01
    )


def test_perfectly_calibrated_and_perfectly_wrong() -> None:
    sure = np.ones((2, 4))
    assert metrics.calibration_error(sure, sure == 1).value == 0
    assert metrics.calibration_error(sure, sure == 0).value == 1
    assert metrics.calibration_error(sure[:, :1], sure[:, :1] == 0).value == 1


@pytest.mark.parametrize("period", [1, 2, 4, 5])
def test_stripes_show_in_the_phase_they_have(period: int) -> None:
    shifts = grid(7)
    striped = (shifts % period == (period - 1, 0)).all(axis=1)
    table = metrics.phases(np.repeat(striped[:, None], 3, axis=1), shifts, period)
    expected = np.zeros((period, period))
    expected[0, period - 1] = 1
    assert table.value.tolist() == table.low.tolist() == table.high.tolist() == expected.tolist()


def test_every_phase_has_as_many_shifts_about_the_centre() -> None:
    shifts = grid(7)
    dx = shifts[:, :1].astype(float)
    for period in (2, 4):  # of 15 shifts the outermost is left out: -7..6 or -6..5, say
        columns = metrics.phases(np.repeat(np.abs(dx) == 7, 2, axis=1), shifts, period)
        assert columns.value.sum() <= 1 / (15 // period) * period


def test_fragility_tells_the_nearest_shift_that_breaks() -> None:
    shifts = grid(2)
    right = np.ones((25, 4), dtype=bool)
    at = {tuple(shift): row for row, shift in enumerate(shifts.tolist())}
    right[[at[2, 2], at[0, -2], at[1, 1]], 0] = False
    right[at[-2, 0], 1] = False
    right[at[0, 0], 2] = False
    called = np.where(right, 5, 8).astype(np.uint8)
    found = metrics.fragility(a_grid(called, shifts), digits(5, 5, 5, 5))
    assert found == [
        ImageRobustness(100, 5, 22 / 25, FailingShift(1, 1, 8)),
        ImageRobustness(101, 5, 24 / 25, FailingShift(-2, 0, 8)),
        ImageRobustness(103, 5, 1.0, None),
    ]


def test_confusion_has_a_row_for_the_actual_class() -> None:
    matrix = metrics.confusion(digits(0, 0, 8, 9, 9), digits(0, 1, 1, 9, 9), 10)
    expected = np.zeros((10, 10), dtype=int)
    expected[0, 0] = 1
    expected[1, 0] = 1
    expected[1, 8] = 1
    expected[9, 9] = 2
    assert matrix.tolist() == expected.tolist()


def test_confusion_counts_every_image_once() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 10, (2, 500)).astype(np.uint8)
    matrix = metrics.confusion(predicted, labels, 10)
    assert matrix.shape == (10, 10)
    for actual, called in np.ndindex(10, 10):
        assert matrix[actual, called] == ((labels == actual) & (predicted == called)).sum()


@pytest.mark.filterwarnings("error")
def test_scores_of_each_class() -> None:
    scores = metrics.per_class(digits(3, 3, 3, 5, 5), digits(3, 3, 5, 5, 7), DIGITS)
    assert [score.name for score in scores] == list(DIGITS)
    assert vars(scores[3]) == pytest.approx({"name": "3", "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "images": 2})
    assert scores[5] == ClassScores("5", precision=0.5, recall=0.5, f1=0.5, images=2)
    assert scores[7] == ClassScores("7", precision=0.0, recall=0.0, f1=0.0, images=1)
    assert scores[0] == ClassScores("0", precision=0.0, recall=0.0, f1=0.0, images=0)


def test_metrics_are_plain_numbers() -> None:
    """They go into JSON and CSV files, where NumPy's would show as such."""
    for share in (metrics.accuracy(LABELS, LABELS), *metrics.over_grid(a_grid(), TRUE).values()):
        assert [type(value) for value in vars(share).values()] == [float, float, float, int]
    (score, *_) = metrics.per_class(LABELS, LABELS, DIGITS)
    assert [type(value) for value in vars(score).values()] == [str, float, float, float, int]


def test_thousand_classes_are_counted_as_ten_are() -> None:
    called = np.random.default_rng(6).integers(0, 1000, (25, 30)).astype(np.uint16)
    called[:, :5] = [7, 999, 256, 255, 0]
    expected = np.mean([called[s] == called[t] for s, t in permutations(range(25), 2)], axis=0)
    np.testing.assert_allclose(metrics.consistency(called), expected)
    assert expected[:5].tolist() == [1] * 5
