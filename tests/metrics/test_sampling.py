"""What a sample of shifts tells of the whole grid. PROTOCOL.md, "Sampled grids"."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftlab.metrics import registry, sampling
from shiftlab.metrics.definitions.consistency import consistency_by_image
from shiftlab.metrics.intervals import Estimate
from shiftlab.metrics.nearest_failing_shift import nearest_failing_shifts
from shiftlab.metrics.radii import by_radius
from shiftlab.metrics.sampling import Design
from shiftlab.metrics.stride_phase import phases
from shiftlab.shifts.grids import anchors, grid, sample
from shiftlab.shifts.predictions import GridPredictions
from tests.metrics.grids import on_grid

RADIUS, IMAGES = 14, 200
WHOLE = grid(RADIUS)


def answers(images: int = IMAGES, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Predictions `(841, images)` that go wrong as networks' do, and the labels.

    Each image is right within a distance of its own, lopsided by its own direction; beyond it another answer has
    patches of the plane to itself.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, images).astype(np.uint8)
    places = WHOLE.astype(float)
    lean, reach = rng.normal(0, 2, (images, 2)), rng.gamma(9, 0.6, images)
    inside = np.linalg.norm(places[:, None] - lean, axis=2) < reach
    waves = np.sin(places @ rng.normal(0, 0.35, (2, images)) + rng.uniform(0, 6, images))
    others = (labels + 1 + (4 * (waves + 1) / 2).astype(int)) % 10
    return np.where(inside, labels, others).astype(np.uint8), labels


PREDICTED, LABELS = answers()
PLACES = {tuple(place): row for row, place in enumerate(WHOLE.tolist())}


def a_grid(shifts: NDArray[np.int8], called: NDArray[np.uint8]) -> GridPredictions:
    rows = [PLACES[tuple(place)] for place in shifts.tolist()]
    nothing = np.zeros((len(rows), called.shape[1]), dtype=np.float16)
    images = np.arange(called.shape[1], dtype=np.int32)
    return GridPredictions(images, shifts, called[rows], nothing, nothing, nothing, nothing.astype(np.int32))


def estimates(grid: GridPredictions, labels: NDArray[np.uint8]) -> dict[str, Estimate]:
    statistics = registry.measure(on_grid(grid, labels), RADIUS)
    return {key: statistic.estimate for key, statistic in statistics.items()}


def test_weights_add_up_to_the_grid() -> None:
    for count in (16, 64, 333):
        design = Design.of(sample(RADIUS, count, seed=1))
        assert not design.complete
        assert design.weights.sum() == pytest.approx(841)
        held = len(anchors(RADIUS))
        assert design.resampled().shape == (held + count, 1000)
        # No shift gains or loses weight on average.
        assert np.abs(design.resampled().mean(axis=1)[held:] / design.weights[held:]).max() < 0.15
        grouped = np.concatenate(design.groups)
        assert sorted(grouped.tolist()) == list(range(held, held + count))
        assert {len(group) for group in design.groups} <= {2, 3}


def test_whole_grid_is_its_own_design() -> None:
    design = Design.of(WHOLE)
    assert design.complete
    assert design.weights.tolist() == [1.0] * 841


def test_pairs_of_the_whole_grid_are_all_pairs() -> None:
    values = np.random.default_rng(0).random((9, 2))
    (total, growth) = Design.of(grid(1)).pairs(values)
    expected = sum(values[s] * values[t] for s, t in permutations(range(9), 2))
    np.testing.assert_allclose(total, expected)
    assert not growth.any()


@pytest.mark.parametrize(
    "metric", ["grid", "consistency", "consistency_by_chance", "corrected_consistency", "pairwise_accuracy"]
)
def test_estimates_are_right_on_average(metric: str) -> None:
    """Over many samples; shifts that keep apart from each other would make consistency 4 points too low here."""
    exact = estimates(a_grid(WHOLE, PREDICTED), LABELS)[metric].value
    found = [estimates(a_grid(sample(RADIUS, 64, seed), PREDICTED), LABELS)[metric] for seed in range(60)]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - exact) < 3.5 * values.std() / len(values) ** 0.5
    assert values.std() > 0


def test_intervals_cover_the_exact_value_as_often_as_they_should() -> None:
    """PROTOCOL.md: of 200 samples of 64 shifts, 90 to 99 in a hundred. Each takes half of the images, too."""
    exact = estimates(a_grid(WHOLE, PREDICTED), LABELS)
    covered = {"grid": 0, "consistency": 0}
    for seed in range(200):
        few = np.random.default_rng(seed).choice(IMAGES, IMAGES // 2, replace=False)
        found = estimates(a_grid(sample(RADIUS, 64, seed), PREDICTED[:, few]), LABELS[few])
        for name in covered:
            covered[name] += found[name].low <= exact[name].value <= found[name].high
    assert {name: 180 <= count <= 198 for name, count in covered.items()} == {"grid": True, "consistency": True}, (
        covered
    )


def test_more_shifts_are_surer() -> None:
    widths = []
    for count in (32, 128, 512):
        one = estimates(a_grid(sample(RADIUS, count, 0), PREDICTED), LABELS)["grid"]
        widths.append(one.high - one.low)
    assert widths == sorted(widths, reverse=True)


def test_sample_of_all_shifts_gives_the_exact_metrics() -> None:
    whole = estimates(a_grid(WHOLE, PREDICTED), LABELS)
    again = estimates(a_grid(sample(RADIUS, 841, 0), PREDICTED), LABELS)
    assert whole == again


def test_robust_accuracy_within_3_pixels_is_exact_in_every_sample() -> None:
    """A minimum over some of the 49 shifts would be too large: 21.0% for 4.5% was seen."""
    (exact,) = [one.robust_accuracy for one in by_radius(a_grid(WHOLE, PREDICTED), LABELS) if one.radius == 3]
    for seed in range(3):
        sampled = a_grid(sample(RADIUS, 64, seed), PREDICTED)
        assert [one.robust_accuracy for one in by_radius(sampled, LABELS) if one.radius == 3] == [exact]
        assert estimates(sampled, LABELS)["robust_accuracy_3"] == exact
    assert 0 < exact.value < 1


def test_consistency_of_each_image_is_exact_of_all_shifts_and_right_on_average_of_a_sample() -> None:
    exact = consistency_by_image(PREDICTED, WHOLE)
    drawn = [sample(RADIUS, 64, seed) for seed in range(60)]
    means = [consistency_by_image(a_grid(one, PREDICTED).predicted, one).mean() for one in drawn]
    assert abs(np.mean(means) - exact.mean()) < 3.5 * np.std(means) / len(means) ** 0.5


def test_share_of_shifts_at_which_an_image_is_right_stands_for_the_whole_grid() -> None:
    """Not for the anchors, at which nearly every image is right."""
    exact = np.mean([one.accuracy for one in nearest_failing_shifts(a_grid(WHOLE, PREDICTED), LABELS)])
    sampled = [
        np.mean([one.accuracy for one in nearest_failing_shifts(a_grid(sample(RADIUS, 64, seed), PREDICTED), LABELS)])
        for seed in range(20)
    ]
    assert abs(np.mean(sampled) - exact) < 0.01


def test_mean_of_what_does_not_vary_is_sure() -> None:
    shifts = sample(RADIUS, 64, 0)
    one = sampling.mean(np.full((len(shifts), 30), 0.25), Design.of(shifts)).estimate
    assert [one.value, one.low, one.high] == pytest.approx([0.25] * 3)


@pytest.mark.parametrize("count", [16, 64])
def test_phase_that_no_drawn_shift_has_is_nan(count: int) -> None:
    """Anchors have it, but stand for no other shift."""
    shifts = sample(RADIUS, count, seed=0)
    found = phases(a_grid(shifts, PREDICTED).predicted == LABELS, shifts, 4)
    assert np.isnan(found.value).any() == (count == 16)
    exact = phases(PREDICTED == LABELS, WHOLE, 4)
    assert np.nanmax(np.abs(found.value - exact.value)) < 0.5
