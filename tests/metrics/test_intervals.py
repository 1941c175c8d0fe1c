import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, ttest_1samp, ttest_ind

from shiftlab.metrics import intervals


@pytest.mark.parametrize(("right", "images"), [(0, 10), (7, 10), (10, 10), (1, 1), (9789, 10_000), (0, 10_000)])
def test_interval_is_wilsons(right: int, images: int) -> None:
    share = intervals.proportion(np.arange(images) < right)

    z, p = 1.959963984540054, right / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert share.images == images
    assert share.value == p
    assert share.low == pytest.approx(centre - half, abs=1e-9)
    assert share.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_mean_is_bootstrapped_over_images() -> None:
    values = np.random.default_rng(0).random(400)
    found = intervals.mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.images == 400
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert found == intervals.mean(values)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [np.ones(5), np.array([0.25])], ids=["constant", "one"])
def test_values_without_spread_have_no_interval(values: NDArray[np.float64]) -> None:
    found = intervals.mean(values)
    assert found.low == found.value == found.high == values[0]


def test_intervals_of_means_are_those_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(3, 300))
    found = intervals.means(values)
    for row in range(3):
        theirs = bootstrap((values[row],), np.mean, n_resamples=5000, method="percentile", rng=4).confidence_interval
        error = values[row].std() / 300**0.5
        assert found.value[row] == pytest.approx(values[row].mean())
        assert found.low[row] == pytest.approx(theirs.low, abs=0.3 * error)
        assert found.high[row] == pytest.approx(theirs.high, abs=0.3 * error)


def test_share_of_ink_is_bootstrapped_with_its_whole() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(100, 1000, 200)
    half = intervals.ratios(np.stack([whole, whole // 2, rng.integers(0, 100, 200)]), whole)
    assert [half.low[0], half.value[0], half.high[0]] == [1, 1, 1]  # varies with the whole, and so not at all
    assert half.value[1] == pytest.approx(0.5, abs=0.001)
    assert half.high[1] - half.low[1] < 0.001
    assert half.low[2] < half.value[2] < half.high[2]


def test_over_seeds_is_students_t() -> None:
    found = intervals.over_seeds([0.9, 0.92, 0.97])
    interval = ttest_1samp([0.9, 0.92, 0.97], 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert [found.mean, found.spread, found.seeds] == pytest.approx([0.93, 0.036055513, 3])


def test_effect_of_two_groups_is_welchs_test_and_of_one_students() -> None:
    first, second = [0.1, 0.4, 0.35, 0.8], [0.05, 0.06, 0.3]
    found = intervals.effect([(1, first), (-1, second)])
    expected = ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found.difference, found.p) == pytest.approx((np.mean(first) - np.mean(second), expected.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))

    found = intervals.effect([(1, first)])
    expected = ttest_1samp(first, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, interval.low, interval.high))


def test_effect_of_four_groups_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    weights, spreads, means = (1, -1, -1, 1), (0.1, 0.3, 0.05, 0.2), (0.5, 0.2, 0.7, 0.3)
    truth = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    covered = 0
    for _ in range(2000):
        groups = [
            (weight, rng.normal(mean, spread, 5).tolist())
            for weight, mean, spread in zip(weights, means, spreads, strict=True)
        ]
        found = intervals.effect(groups)
        covered += found.low <= truth <= found.high
    assert 0.93 < covered / 2000 < 0.97


def test_effect_without_spread_or_without_a_value() -> None:
    assert intervals.effect([(1, [0.5, 0.5]), (-1, [0.5, 0.5])]) == intervals.Effect(0, 0, 0, 1)
    assert intervals.effect([(1, [0.5, 0.5]), (-1, [0.25, 0.25])]) == intervals.Effect(0.25, 0.25, 0.25, 0)
    undefined = intervals.effect([(1, [0.5, math.nan]), (-1, [0.25, 0.5])])
    assert math.isnan(undefined.difference)
    assert undefined.p == 1


def test_holm_multiplies_the_smallest_by_the_number_of_tests() -> None:
    assert intervals.holm([0.01, 0.5, 0.02]) == pytest.approx([0.03, 0.5, 0.04])
    assert intervals.holm([]) == []


def estimates(values: list[float], half: float) -> list[intervals.Estimate]:
    return [intervals.Estimate(value, value - half, value + half, 1000) for value in values]


def test_combined_interval_of_one_seed_is_the_images() -> None:
    wilson = intervals.proportion(np.arange(100) < 99)
    assert intervals.combined([wilson]) == wilson
    assert wilson.half == pytest.approx(0.99 - wilson.low)  # the longer side


def test_combined_interval_without_an_images_part_is_students_and_without_spread_the_images() -> None:
    values = [0.5, 0.52, 0.57]
    students = intervals.over_seeds(values)
    found = intervals.combined(estimates(values, 0.0))
    assert (found.value, found.low, found.high) == pytest.approx((students.mean, students.low, students.high))
    found = intervals.combined(estimates([0.5] * 3, 0.02))
    assert (found.value, found.half) == pytest.approx((0.5, 0.02))


def test_combined_interval_is_satterthwaites() -> None:
    """By hand: seeds 0.01^2 of 2 degrees of freedom, images 0.02^2, so 5^2 / (1^2 / 2) = 50 degrees."""
    values = [0.5 - 0.01 * 3**0.5, 0.5, 0.5 + 0.01 * 3**0.5]
    found = intervals.combined(estimates(values, 0.02 * 1.959963984540054))
    assert found.half == pytest.approx(2.008559 * 0.0005**0.5, rel=1e-5)


def test_combined_interval_is_never_narrower_than_students() -> None:
    values = [0.6, 0.7, 0.65, 0.75, 0.72]
    found = intervals.combined(estimates(values, 0.009))
    assert found.low == pytest.approx(intervals.over_seeds(values).low)
    assert intervals.combined(estimates(values, 0.05)).low < found.low


def test_combined_interval_ends_where_the_metric_does() -> None:
    found = intervals.combined(estimates([0.001, 0.0, 0.002], 0.01))
    assert found.low == 0
    assert found.half == pytest.approx(found.high - found.value)
    found = intervals.combined(estimates([0.99, 1.0, 0.98], 0.05))
    assert found.high == 1
    found = intervals.combined(estimates([0.99, 1.0, 0.98], 0.05), limits=(-math.inf, 1.2))
    assert found.high > 1


def test_combined_interval_of_what_is_undefined_is_undefined() -> None:
    found = intervals.combined([*estimates([0.5, 0.6], 0.01), *estimates([math.nan], 0.01)])
    assert math.isnan(found.value)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("shared", [True, False], ids=["same images fail", "images fail independently"])
@pytest.mark.parametrize("seeds", [2, 5])
def test_combined_interval_covers_the_truth_in_94_percent(seeds: int, ratio: float, shared: bool) -> None:
    """Seeds whose true accuracies are normal, each with binomial answers on 400 images.

    The truth is the mean over all seeds and images. `ratio`: the mean's standard error over seeds, in those over
    images. Where the same images fail in every training, the bound on the images' part is reached; where they fail
    independently it is as many times too large as there are seeds, and the interval too wide.
    """
    rng, images, truth, studies = np.random.default_rng(1), 400, 0.7, 2000
    spread = ratio * (truth * (1 - truth) / images) ** 0.5 * seeds**0.5
    hardness = rng.random((studies, 1 if shared else seeds, images))
    right = hardness < rng.normal(truth, spread, (studies, seeds, 1))
    found = intervals.proportions(right.reshape(-1, images))
    of_seeds = [
        intervals.Estimate(*one, images)
        for one in zip(found.value.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    ]
    means = [intervals.combined(of_seeds[seeds * study : seeds * study + seeds]) for study in range(studies)]
    covered = sum(one.low <= truth <= one.high for one in means) / studies
    assert covered >= 0.94
    if shared:
        assert covered < 0.98
