import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tf
from torchvision.transforms import InterpolationMode

from shiftlab.errors import UserError
from shiftlab.params import RegimeName
from shiftlab.shifts import (
    DIRECTIONS,
    FRACTIONS,
    NAMED_SETS,
    PADDING,
    grid,
    line,
    named_set,
    shift,
    shift_by_fraction,
    shift_each,
    subset,
    surround,
    window,
)

EVERY = range(-28, 29)
SOME = np.array([[5, -3], [0, 0], [5, -3], [-27, 28]], dtype=np.int8)


def noise(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dx", EVERY)
def test_shift_is_torchvisions_affine(dx: int) -> None:
    images = noise(3, 28, 28)
    for dy in EVERY:
        moved = tf.affine(
            images.unsqueeze(1), 0, [dx, dy], 1, [0.0], interpolation=InterpolationMode.NEAREST, fill=[0.0]
        )
        assert torch.equal(shift(images, dx, dy), moved.squeeze(1)), (dx, dy)


def test_shift_goes_right_and_down() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 10, 20] = 255
    assert shift(image, dx=3, dy=-2).nonzero().tolist() == [[0, 8, 23]]


@pytest.mark.parametrize("dx", EVERY)
def test_circular_shift_is_torchs_roll(dx: int) -> None:
    images = noise(3, 28, 28)
    for dy in EVERY:
        assert torch.equal(shift(images, dx, dy, "circular"), images.roll((dy, dx), (-2, -1))), (dx, dy)


@pytest.mark.parametrize("regime", PADDING)
def test_window_into_what_surrounds_is_the_shift(regime: RegimeName) -> None:
    images = noise(3, 28, 28)
    surrounded = surround(images, 5, regime)
    assert surrounded.shape == (3, 38, 38)
    for dx, dy in ((0, 0), (5, -5), (-5, 5), (2, 3)):
        view = window(surrounded, 5, dx, dy)
        assert torch.equal(view, shift(images, dx, dy, regime))
        assert view.data_ptr() - surrounded.data_ptr() < surrounded.nbytes  # no pixel is copied


def test_shift_by_nothing_is_the_image() -> None:
    assert torch.equal(shift(noise(2, 28, 28), 0, 0), noise(2, 28, 28))


@pytest.mark.parametrize("regime", PADDING)
def test_whole_fractions_are_ordinary_shifts(regime: RegimeName) -> None:
    images = noise(3, 28, 28)
    surrounded = surround(images, 3, regime)
    for dx in (0, 1, 2):
        assert torch.equal(shift_by_fraction(surrounded, 3, dx), shift(images, dx, 0, regime).float())


def test_fractions_are_torchvisions_bilinear_affine() -> None:
    images = noise(3, 28, 28, dtype=torch.float32)
    surrounded = surround(images, 3, "zero")
    for dx in FRACTIONS.tolist():
        moved = tf.affine(
            torch.nn.functional.pad(images, (3,) * 4).unsqueeze(1),
            0,
            [dx, 0],  # it takes fractions too
            1,
            [0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=[0.0],
        )[:, 0, 3:-3, 3:-3]
        assert torch.allclose(shift_by_fraction(surrounded, 3, dx), moved, atol=1e-2), dx


def test_fractions_go_from_0_to_2_by_quarters() -> None:
    assert FRACTIONS.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


@pytest.mark.parametrize(("dx", "dy"), [(28, 0), (0, -28), (30, 3), (-100, 100)])
def test_shift_by_the_size_or_more_leaves_nothing(dx: int, dy: int) -> None:
    assert not shift(noise(2, 28, 28), dx, dy).any()


def test_shifting_leaves_its_input_alone() -> None:
    images = noise(4, 28, 28)
    shift(images, 3, -4)
    shift_each(images, SOME)
    assert torch.equal(images, noise(4, 28, 28))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(28, 28), (48, 48), (30, 41)])
def test_shift_keeps_shape_and_type(dtype: torch.dtype, size: tuple[int, int]) -> None:
    images = noise(4, *size, dtype=dtype)
    moved = shift(images, 7, -5)
    assert moved.dtype == dtype
    assert torch.equal(moved[:, :-5, 7:], images[:, 5:, :-7])
    assert not moved[:, -5:].any()
    assert not moved[..., :7].any()


def test_shift_on_a_canvas_loses_no_ink() -> None:
    canvas = torch.nn.functional.pad(noise(1, 28, 28), (10, 10, 10, 10))
    moved = shift(canvas, 10, -10)
    assert torch.equal(moved[:, :28, 20:], noise(1, 28, 28))


@pytest.mark.parametrize("regime", PADDING)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shift_each_moves_every_image_by_its_own(dtype: torch.dtype, regime: RegimeName) -> None:
    images = noise(4, 28, 28, dtype=dtype)
    moved = shift_each(images, SOME, regime)
    assert moved.dtype == dtype
    for index, (dx, dy) in enumerate(SOME.tolist()):
        assert torch.equal(moved[index : index + 1], shift(images[index : index + 1], dx, dy, regime))


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
    monkeypatch.delitem(NAMED_SETS, "translate3")
    monkeypatch.setitem(NAMED_SETS, "random1", lambda count, rng: rng.integers(-1, 2, (count, 2)))
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


def test_subset_has_each_digit_in_its_share_and_keeps_the_order() -> None:
    chosen = subset(LABELS, 100, seed=0)
    assert len(np.unique(chosen)) == len(chosen) == 100
    assert chosen.tolist() == sorted(chosen)
    assert set(np.bincount(LABELS[chosen])) <= {9, 10, 11}
    assert np.array_equal(chosen, subset(LABELS, 100, seed=0))
    assert not np.array_equal(chosen, subset(LABELS, 100, seed=1))


@pytest.mark.parametrize("count", ["all", 359])
def test_subset_may_be_everything(count: int | str) -> None:
    assert subset(LABELS, count, seed=0).tolist() == list(range(359))


@pytest.mark.parametrize("count", [360, 1000, 3])
def test_subset_that_cannot_be_drawn_is_a_user_error(count: int) -> None:
    with pytest.raises(UserError, match=rf"evaluation.images is {count}.*359 test images.*evaluation=full") as caught:
        subset(LABELS, count, seed=0)
    assert "\n" not in str(caught.value)
