import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from shiftlab import robustness
from shiftlab.predictions import OnGrid
from shiftlab.robustness import Breaking, ClassScores, Fragility
from shiftlab.shifts import grid
from tests.helpers import some_predictions


def digits(*values: int) -> NDArray[np.uint8]:
    return np.array(values, dtype=np.uint8)


@pytest.mark.parametrize(("right", "images"), [(0, 10), (7, 10), (10, 10), (1, 1), (9789, 10_000), (0, 10_000)])
def test_interval_is_wilsons(right: int, images: int) -> None:
    labels = np.full(images, 3, dtype=np.uint8)
    predicted = labels.copy()
    predicted[right:] = 4
    share = robustness.accuracy(predicted, labels)

    z, p = 1.959963984540054, right / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert share.images == images
    assert share.value == p
    assert share.low == pytest.approx(centre - half, abs=1e-9)
    assert share.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= share.low <= share.value <= share.high <= 1


LABELS = digits(0, 0, 1, 1)


def test_accuracy_of_each_set() -> None:
    shares = robustness.accuracies(some_predictions())
    assert {name: share.value for name, share in shares.items()} == {"right5": 0.75, "clean": 1.0}


def test_curve_runs_from_left_to_right() -> None:
    curve = robustness.curve(some_predictions(), "x", 1)
    assert [(step, share.value) for step, share in curve] == [(-1, 0.75), (0, 0.0), (1, 0.0)]


def test_curve_over_more_than_was_computed_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        robustness.curve(some_predictions(), "y", 2)


def test_mean_is_bootstrapped_over_images() -> None:
    values = np.random.default_rng(0).random(400)
    found = robustness.mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.images == 400
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert found == robustness.mean(values)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [np.ones(5), np.array([0.25])], ids=["constant", "one"])
def test_values_without_spread_have_no_interval(values: NDArray[np.float64]) -> None:
    found = robustness.mean(values)
    assert found.low == found.value == found.high == values[0]


RNG = np.random.default_rng(0)
SHIFTS = grid(2)
CALLED = RNG.integers(0, 3, (25, 7)).astype(np.uint8)
TRUE = RNG.integers(0, 3, 7).astype(np.uint8)


def a_grid(called: NDArray[np.uint8] = CALLED, shifts: NDArray[np.int8] = SHIFTS) -> OnGrid:
    confidence = np.random.default_rng(1).random(called.shape).astype(np.float16)
    images = np.arange(100, 100 + called.shape[1], dtype=np.int32)
    ink = np.random.default_rng(2).integers(0, 1000, called.shape, dtype=np.int32)
    ink[len(shifts) // 2] = 1000  # all of it, unshifted
    return OnGrid(images, shifts, called, confidence, confidence, confidence, ink)


def test_maps_have_a_row_for_each_dy() -> None:
    accuracy, agreement = robustness.accuracy_map(CALLED == TRUE).value, robustness.agreement_map(CALLED).value
    given_right = robustness.agreement_where_right_map(CALLED, TRUE).value
    known = CALLED[12] == TRUE
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        assert accuracy[place] == pytest.approx((CALLED[row] == TRUE).mean())
        assert agreement[place] == pytest.approx((CALLED[row] == CALLED[12]).mean())
        assert given_right[place] == pytest.approx((CALLED[row] == CALLED[12])[known].mean())
    assert agreement[2, 2] == given_right[2, 2] == 1


def test_agreement_where_nothing_is_right_is_unknown() -> None:
    assert np.isnan(robustness.agreement_where_right_map(CALLED, TRUE + 5).value).all()


def test_consistency_from_counts_is_that_of_all_pairs() -> None:
    pairs = list(permutations(range(25), 2))
    expected = np.mean([CALLED[s] == CALLED[t] for s, t in pairs], axis=0)
    np.testing.assert_allclose(robustness.consistency(CALLED), expected)


def test_figures_by_radius() -> None:
    found = robustness.by_radius(a_grid(), TRUE)
    assert [at.radius for at in found] == [0, 1, 2]
    right = CALLED == TRUE
    for at in found:
        here = np.array([max(abs(dx), abs(dy)) == at.radius for dx, dy in SHIFTS.tolist()])
        within = np.array([max(abs(dx), abs(dy)) <= at.radius for dx, dy in SHIFTS.tolist()])
        assert at.accuracy.value == pytest.approx(right[here].mean())
        assert at.worst_case.value == pytest.approx(right[within].all(axis=0).mean())
        assert at.confidence.value == pytest.approx(a_grid().confidence[here].astype(float).mean())
        assert {digit: one.images for digit, one in at.by_class.items()} == dict(Counter(TRUE.tolist()))
        for digit, one in at.by_class.items():
            assert one.value == pytest.approx(right[here][:, digit == TRUE].mean())
        assert at.ink.value == pytest.approx(a_grid().ink[here].mean() / 1000)
    assert found[0].accuracy.value == found[0].worst_case.value


def test_intervals_of_the_maps_of_shares_are_wilsons() -> None:
    found = robustness.accuracy_map(CALLED == TRUE)
    agreeing = robustness.agreement_map(CALLED)
    for row, (dx, dy) in enumerate(SHIFTS.tolist()):
        place = dy + 2, dx + 2
        for table, labels in ((found, TRUE), (agreeing, CALLED[12])):
            one = robustness.accuracy(CALLED[row], labels)
            assert [table.low[place], table.high[place]] == pytest.approx([one.low, one.high], abs=1e-12)
    assert found.reach == pytest.approx((found.high - found.low).max() / 2)


def test_intervals_of_means_are_those_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(3, 300))
    found = robustness.means(values)
    for row in range(3):
        theirs = bootstrap((values[row],), np.mean, n_resamples=5000, method="percentile", rng=4).confidence_interval
        error = values[row].std() / 300**0.5
        assert found.value[row] == pytest.approx(values[row].mean())
        assert found.low[row] == pytest.approx(theirs.low, abs=0.3 * error)
        assert found.high[row] == pytest.approx(theirs.high, abs=0.3 * error)


def test_share_of_ink_is_bootstrapped_with_its_whole() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(100, 1000, 200)
    half = robustness.ratios(np.stack([whole, whole // 2, rng.integers(0, 100, 200)]), whole)
    assert [half.low[0], half.value[0], half.high[0]] == [1, 1, 1]  # varies with the whole, and so not at all
    assert half.value[1] == pytest.approx(0.5, abs=0.001)
    assert half.high[1] - half.low[1] < 0.001
    assert half.low[2] < half.value[2] < half.high[2]


def test_calibration_error_is_guos() -> None:
    confidence = np.array([[0.99, 0.98, 0.97, 0.51], [0.52, 1.0, 0.0, 0.5]])
    right = np.array([[True, True, False, True], [False, True, False, False]])
    expected = 0.0
    for low in np.arange(15) / 15:
        members = (confidence >= low) & ((confidence < low + 1 / 15) | ((low == 14 / 15) & (confidence == 1)))
        if members.any():
            expected += members.mean() * abs(confidence[members].mean() - right[members].mean())
    found = robustness.calibration_error(confidence, right)
    assert found.value == pytest.approx(expected)
    assert found.images == 4


def test_calibration_errors_interval_resamples_images() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random((1, 400)) < 0.3, 3, axis=0)  # what an image's shifts have in common
    found = robustness.calibration_error(np.ones((3, 400)), right)
    share = robustness.mean(right[0].astype(float))
    assert [found.value, found.low, found.high] == pytest.approx(
        [1 - share.value, 1 - share.high, 1 - share.low], abs=0.01
    )


def test_perfectly_calibrated_and_perfectly_wrong() -> None:
    sure = np.ones((2, 4))
    assert robustness.calibration_error(sure, sure == 1).value == 0
    assert robustness.calibration_error(sure, sure == 0).value == 1
    assert robustness.calibration_error(sure[:, :1], sure[:, :1] == 0).value == 1


@pytest.mark.parametrize("period", [1, 2, 4, 5])
def test_stripes_show_in_the_phase_they_have(period: int) -> None:
    shifts = grid(7)
    striped = (shifts % period == (period - 1, 0)).all(axis=1)
    table = robustness.phases(np.repeat(striped[:, None], 3, axis=1), shifts, period)
    expected = np.zeros((period, period))
    expected[0, period - 1] = 1
    assert table.value.tolist() == table.low.tolist() == table.high.tolist() == expected.tolist()


def test_every_phase_has_as_many_shifts_about_the_centre() -> None:
    shifts = grid(7)
    dx = shifts[:, :1].astype(float)
    for period in (2, 4):  # of 15 shifts the outermost is left out: -7..6 or -6..5, say
        columns = robustness.phases(np.repeat(np.abs(dx) == 7, 2, axis=1), shifts, period)
        assert columns.value.sum() <= 1 / (15 // period) * period


def test_fragility_tells_the_nearest_shift_that_breaks() -> None:
    shifts = grid(2)
    right = np.ones((25, 4), dtype=bool)
    at = {tuple(shift): row for row, shift in enumerate(shifts.tolist())}
    right[[at[2, 2], at[0, -2], at[1, 1]], 0] = False
    right[at[-2, 0], 1] = False
    right[at[0, 0], 2] = False
    called = np.where(right, 5, 8).astype(np.uint8)
    found = robustness.fragility(a_grid(called, shifts), digits(5, 5, 5, 5))
    assert found == [
        Fragility(100, 5, 22 / 25, Breaking(1, 1, 8)),
        Fragility(101, 5, 24 / 25, Breaking(-2, 0, 8)),
        Fragility(103, 5, 1.0, None),
    ]


def test_differences_are_mcnemars_with_holms_correction() -> None:
    rng = np.random.default_rng(0)
    right = {
        name: {model: rng.random(500) < share for model, share in (("a", 0.9), ("b", 0.85), ("c", 0.84))}
        for name in ("clean", "right5")
    }
    found = robustness.differences(right)
    assert [(one.evaluation_set, one.first, one.second) for one in found] == [
        (name, *pair) for name in right for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    for one in found:
        first, second = right[one.evaluation_set][one.first], right[one.evaluation_set][one.second]
        table = [[int((row & other).sum()) for other in (second, ~second)] for row in (first, ~first)]
        assert one.p == pytest.approx(mcnemar(table, exact=True).pvalue)
        assert one.by == pytest.approx(first.mean() - second.mean())
        assert (one.only_first, one.only_second) == (table[0][1], table[1][0])
    in_order = sorted(found, key=lambda one: one.p)
    running = 0.0
    for rank, one in enumerate(in_order):
        running = max(running, min(1.0, (len(found) - rank) * one.p))
        assert one.corrected == pytest.approx(running)


def test_models_that_agree_do_not_differ() -> None:
    same = np.array([True, False, True])
    (one,) = robustness.differences({"clean": {"a": same, "b": same.copy()}})
    assert (one.by, one.p, one.corrected) == (0, 1, 1)
    assert robustness.differences({"clean": {"a": same}}) == []


def test_over_seeds_is_students_t() -> None:
    found = robustness.over_seeds([0.9, 0.92, 0.97])
    interval = ttest_1samp([0.9, 0.92, 0.97], 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert [found.mean, found.spread, found.seeds] == pytest.approx([0.93, 0.036055513, 3])


def test_confusion_has_a_row_for_the_actual_digit() -> None:
    matrix = robustness.confusion(digits(0, 0, 8, 9, 9), digits(0, 1, 1, 9, 9))
    expected = np.zeros((10, 10), dtype=int)
    expected[0, 0] = 1
    expected[1, 0] = 1
    expected[1, 8] = 1
    expected[9, 9] = 2
    assert matrix.tolist() == expected.tolist()


def test_confusion_counts_every_image_once() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 10, (2, 500)).astype(np.uint8)
    matrix = robustness.confusion(predicted, labels)
    assert matrix.shape == (10, 10)
    for actual, called in np.ndindex(10, 10):
        assert matrix[actual, called] == ((labels == actual) & (predicted == called)).sum()


@pytest.mark.filterwarnings("error")
def test_scores_of_each_digit() -> None:
    scores = robustness.per_class(predicted=digits(3, 3, 3, 5, 5), labels=digits(3, 3, 5, 5, 7))
    assert [score.digit for score in scores] == list(range(10))
    assert vars(scores[3]) == pytest.approx({"digit": 3, "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "images": 2})
    assert scores[5] == ClassScores(5, precision=0.5, recall=0.5, f1=0.5, images=2)
    assert scores[7] == ClassScores(7, precision=0.0, recall=0.0, f1=0.0, images=1)
    assert scores[0] == ClassScores(0, precision=0.0, recall=0.0, f1=0.0, images=0)


def test_figures_are_plain_numbers() -> None:
    """They go into JSON and CSV files, where NumPy's would show as such."""
    share = robustness.accuracy(LABELS, LABELS)
    assert [type(value) for value in vars(share).values()] == [float, float, float, int]
    (score, *_) = robustness.per_class(LABELS, LABELS)
    assert [type(value) for value in vars(score).values()] == [int, float, float, float, int]
