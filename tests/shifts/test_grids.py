import numpy as np
import pytest
import torch

from shiftlab.data.dataset import draw
from shiftlab.errors import UserError
from shiftlab.shifts.grids import (
    DIRECTIONS,
    FRACTIONS,
    NAMED_SETS,
    anchors,
    center_and_ends,
    grid,
    line,
    named_set,
    sample,
    subset,
)


def test_fractions_go_from_0_to_2_by_quarters() -> None:
    assert FRACTIONS.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


@pytest.mark.parametrize(
    ("name", "dx", "dy"),
    [("clean", 0, 0), ("right5", 5, 0), ("right4", 4, 0)],
)
def test_sets_that_move_all_images_alike(name: str, dx: int, dy: int) -> None:
    assert named_set(name, 3, seed=1).tolist() == [[dx, dy]] * 3


def test_translate3_draws_all_four_corners_and_nothing_else() -> None:
    drawn = named_set("translate3", 10_000, seed=0)
    corners, counts = np.unique(drawn, axis=0, return_counts=True)
    assert corners.tolist() == [[-3, -3], [-3, 3], [3, -3], [3, 3]]
    assert min(counts) > 2300


def test_random5_draws_all_121_shifts_alike_and_nothing_else() -> None:
    drawn = named_set("random5", 10_000, seed=0)
    shifts, counts = np.unique(drawn, axis=0, return_counts=True)
    assert shifts.tolist() == [[dx, dy] for dx in range(-5, 6) for dy in range(-5, 6)]
    assert min(counts) > 40
    assert max(counts) < 140


def test_protocols_sets_are_all_there() -> None:
    assert list(NAMED_SETS) == ["clean", "right5", "right4", "translate3", "random5"]
    assert all(named_set(name, 7, seed=0).shape == (7, 2) for name in NAMED_SETS)


@pytest.mark.parametrize("name", ["translate3", "random5"])
def test_drawn_sets_follow_their_seed(name: str) -> None:
    first = named_set(name, 1000, seed=3)
    assert np.array_equal(first, named_set(name, 1000, seed=3))
    assert not np.array_equal(first, named_set(name, 1000, seed=4))


def test_drawn_sets_ignore_global_generators() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    first = named_set("random5", 100, seed=3)
    np.random.seed(1)
    torch.manual_seed(1)
    assert np.array_equal(first, named_set("random5", 100, seed=3))


def test_sets_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    before = named_set("random5", 100, seed=0)
    others = {name: shifts for name, shifts in NAMED_SETS.items() if name != "translate3"}
    others["random1"] = lambda count, rng: rng.integers(-1, 2, (count, 2))
    monkeypatch.setattr("shiftlab.shifts.grids.NAMED_SETS", others)
    named_set("random1", 100, seed=0)
    assert np.array_equal(before, named_set("random5", 100, seed=0))


def test_two_drawn_sets_do_not_share_their_numbers() -> None:
    """The signs of one would otherwise tell those of the other."""
    signs = np.sign(named_set("translate3", 2000, seed=0).astype(float))
    others = np.sign(named_set("random5", 2000, seed=0).astype(float))
    assert abs((signs * others).mean()) < 0.1


@pytest.mark.parametrize(("direction", "step"), [("x", (1, 0)), ("y", (0, 1)), ("diagonal", (1, 1))])
def test_line_goes_through_the_centre(direction: str, step: tuple[int, int]) -> None:
    assert line(direction, 2).tolist() == [[n * step[0], n * step[1]] for n in (-2, -1, 0, 1, 2)]
    assert np.min(line(direction, 27)) == -27


def test_there_are_three_directions() -> None:
    assert list(DIRECTIONS) == ["x", "y", "diagonal"]


def test_grid_has_every_shift_once_row_by_row() -> None:
    assert grid(1).tolist() == [[dx, dy] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert len(np.unique(grid(14), axis=0)) == len(grid(14)) == 841
    assert grid(14)[841 // 2].tolist() == [0, 0]


LABELS = np.repeat(np.arange(10), 36)[:359]


def test_subset_has_each_class_in_its_share_and_keeps_the_order() -> None:
    chosen = subset(LABELS, 100, seed=0)
    assert len(np.unique(chosen)) == len(chosen) == 100
    assert chosen.tolist() == sorted(chosen)
    assert set(np.bincount(LABELS[chosen])) <= {9, 10, 11}
    assert np.array_equal(chosen, subset(LABELS, 100, seed=0))
    assert not np.array_equal(chosen, subset(LABELS, 100, seed=1))


@pytest.mark.parametrize("seed", range(5))
def test_image_0_is_among_them_in_the_place_of_another_of_its_class(seed: int) -> None:
    images, drawn = subset(LABELS, 100, seed), draw(LABELS, 100, seed)
    assert images[0] == 0
    assert np.unique(images).tolist() == images.tolist()
    assert len(set(images.tolist()) - set(drawn.tolist())) == (0 not in drawn)
    assert np.bincount(LABELS[images]).tolist() == np.bincount(LABELS[drawn]).tolist()


@pytest.mark.parametrize("count", ["all", 359])
def test_subset_may_be_everything(count: int | str) -> None:
    assert subset(LABELS, count, seed=0).tolist() == list(range(359))


@pytest.mark.parametrize("count", [360, 1000])
def test_subset_that_cannot_be_drawn_is_a_user_error(count: int) -> None:
    with pytest.raises(UserError, match=rf"{count} images can't be drawn from 359 test images") as caught:
        subset(LABELS, count, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [16, 64, 500])
def test_sample_holds_the_anchors_and_draws_no_shift_twice(count: int) -> None:
    held, shifts = anchors(14), sample(14, count, seed=3)
    assert shifts.dtype == np.int8
    assert np.array_equal(shifts[: len(held)], held)
    drawn = set(map(tuple, shifts[len(held) :].tolist()))
    assert len(drawn) == len(shifts) - len(held) == count
    assert not drawn & set(map(tuple, center_and_ends(14).tolist()))


@pytest.mark.parametrize(("radius", "count"), [(1, 9), (2, 25), (3, 49), (4, 53), (14, 53)])
def test_anchors_are_all_shifts_within_3_pixels_and_the_ends_of_both_axes(radius: int, count: int) -> None:
    places = set(map(tuple, anchors(radius).tolist()))
    assert len(places) == len(anchors(radius)) == count
    assert np.array_equal(anchors(radius)[:5], center_and_ends(radius))
    assert set(map(tuple, grid(min(3, radius)).tolist())) <= places
    assert {(-radius, 0), (radius, 0), (0, -radius), (0, radius)} <= places


def test_sample_follows_its_seed() -> None:
    assert np.array_equal(sample(14, 64, seed=3), sample(14, 64, seed=3))
    assert not np.array_equal(sample(14, 64, seed=3), sample(14, 64, seed=4))


def test_sample_covers_the_square_evenly() -> None:
    """Each quarter of the square gets its share, which shifts drawn each for itself would miss by several."""
    for seed in range(20):
        drawn = sample(14, 64, seed)[len(anchors(14)) :].astype(int)
        quarters = [((drawn * signs) > 0).all(axis=1).sum() for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        assert max(quarters) - min(quarters) <= 8


@pytest.mark.parametrize(("radius", "count"), [(14, "all"), (14, 841), (14, 1000), (3, 16), (4, 76)])
def test_sample_of_everything_is_the_grid(radius: int, count: int | str) -> None:
    """Each shift once: within 3 pixels the anchors are all there are."""
    assert np.array_equal(sample(radius, count, seed=0), grid(radius))
