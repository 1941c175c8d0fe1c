import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tf
from torchvision.transforms import InterpolationMode

from shiftlab.config.params import BoundaryName
from shiftlab.shifts import boundaries
from shiftlab.shifts.grids import FRACTIONS
from shiftlab.shifts.transform import crop_at, shift, shift_each

IN_THE_FRAME = ("zero", "circular")

EVERY = range(-28, 29)
SOME = np.array([[5, -3], [0, 0], [5, -3], [-27, 28]], dtype=np.int8)


def noise(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dx", EVERY)
def test_shift_is_torchvisions_affine(dx: int) -> None:
    images = noise(3, 2, 28, 28)
    for dy in EVERY:
        moved = tf.affine(images, 0, [dx, dy], 1, [0.0], interpolation=InterpolationMode.NEAREST, fill=[0.0])
        assert torch.equal(shift(images, dx, dy), moved), (dx, dy)


def test_shift_goes_right_and_down() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[0, 0, 10, 20] = 255
    assert shift(image, dx=3, dy=-2).nonzero().tolist() == [[0, 0, 8, 23]]


@pytest.mark.parametrize("dx", EVERY)
def test_circular_shift_is_torchs_roll(dx: int) -> None:
    images = noise(3, 2, 28, 28)
    for dy in EVERY:
        assert torch.equal(shift(images, dx, dy, "circular"), images.roll((dy, dx), (-2, -1))), (dx, dy)


@pytest.mark.parametrize("boundary", IN_THE_FRAME)
def test_crop_of_what_was_padded_is_the_shift(boundary: BoundaryName) -> None:
    images = noise(3, 2, 28, 28)
    padded = boundaries.get(boundary).pad(images, 5)
    assert padded.shape == (3, 2, 38, 38)
    for dx, dy in ((0, 0), (5, -5), (-5, 5), (2, 3)):
        view = crop_at(padded, 5, dx, dy)
        assert torch.equal(view, shift(images, dx, dy, boundary))
        assert view.data_ptr() - padded.data_ptr() < padded.nbytes  # no pixel is copied


def test_shift_by_nothing_is_the_image() -> None:
    assert torch.equal(shift(noise(2, 2, 28, 28), 0, 0), noise(2, 2, 28, 28))


@pytest.mark.parametrize("boundary", IN_THE_FRAME)
def test_whole_fractions_are_ordinary_shifts(boundary: BoundaryName) -> None:
    images = noise(3, 2, 28, 28)
    padded = boundaries.get(boundary).pad(images, 3)
    for dx in (0, 1, 2):
        assert torch.equal(crop_at(padded, 3, dx, 0), shift(images, dx, 0, boundary))


def test_fractions_are_torchvisions_bilinear_affine() -> None:
    images = noise(3, 2, 28, 28, dtype=torch.float32)
    padded = boundaries.get("zero").pad(images, 3)
    for dx in FRACTIONS.tolist():
        moved = tf.affine(
            torch.nn.functional.pad(images, (3,) * 4),
            0,
            [dx, 0],  # it takes fractions too
            1,
            [0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=[0.0],
        )[..., 3:-3, 3:-3]
        assert torch.allclose(crop_at(padded, 3, dx, 0), moved, atol=1e-2), dx


@pytest.mark.parametrize(("dx", "dy"), [(28, 0), (0, -28), (30, 3), (-100, 100)])
def test_shift_by_the_size_or_more_leaves_nothing(dx: int, dy: int) -> None:
    assert not shift(noise(2, 2, 28, 28), dx, dy).any()


def test_shifting_leaves_its_input_alone() -> None:
    images = noise(4, 2, 28, 28)
    shift(images, 3, -4)
    shift_each(images, SOME)
    assert torch.equal(images, noise(4, 2, 28, 28))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(28, 28), (48, 48), (30, 41)])
def test_shift_keeps_shape_and_type(dtype: torch.dtype, size: tuple[int, int]) -> None:
    images = noise(4, 3, *size, dtype=dtype)
    moved = shift(images, 7, -5)
    assert moved.dtype == dtype
    assert torch.equal(moved[..., :-5, 7:], images[..., 5:, :-7])
    assert not moved[..., -5:, :].any()
    assert not moved[..., :7].any()


def test_shift_on_a_canvas_loses_no_ink() -> None:
    canvas = torch.nn.functional.pad(noise(1, 2, 28, 28), (10, 10, 10, 10))
    moved = shift(canvas, 10, -10)
    assert torch.equal(moved[..., :28, 20:], noise(1, 2, 28, 28))


@pytest.mark.parametrize("boundary", IN_THE_FRAME)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shift_each_moves_every_image_by_its_own(dtype: torch.dtype, boundary: BoundaryName) -> None:
    images = noise(4, 2, 28, 28, dtype=dtype)
    moved = shift_each(images, SOME, boundary)
    assert moved.dtype == dtype
    for index, (dx, dy) in enumerate(SOME.tolist()):
        assert torch.equal(moved[index : index + 1], shift(images[index : index + 1], dx, dy, boundary))


PHOTOGRAPHS = noise(3, 3, 41, 50)
FRAME = (28, 31)


def test_frame_moves_over_a_larger_image() -> None:
    """T(dx, dy) moves the content right and down, so the window goes left and up."""
    top, left = (41 - 28) // 2, (50 - 31) // 2
    for dx, dy in ((0, 0), (6, -6), (-6, 6), (2, 3)):
        moved = shift(PHOTOGRAPHS, dx, dy, "crop", FRAME)
        assert torch.equal(moved, PHOTOGRAPHS[..., top - dy : top - dy + 28, left - dx : left - dx + 31])


def test_real_content_enters_and_leaves() -> None:
    still, moved = (shift(PHOTOGRAPHS, dx, 0, "crop", FRAME) for dx in (0, 5))
    assert torch.equal(moved[..., 5:], still[..., :-5])
    assert (moved[..., :5] > 0).all()  # no black: the noise has none


@pytest.mark.parametrize("boundary", IN_THE_FRAME)
def test_other_boundaries_see_nothing_beyond_the_frame(boundary: BoundaryName) -> None:
    inside = shift(PHOTOGRAPHS, 0, 0, "crop", FRAME)
    assert torch.equal(shift(PHOTOGRAPHS, 4, -3, boundary, FRAME), shift(inside, 4, -3, boundary))
    each = np.array([[4, -3], [0, 0], [-2, 1]], dtype=np.int8)
    assert torch.equal(shift_each(PHOTOGRAPHS, each, boundary, FRAME), shift_each(inside, each, boundary))


def test_each_photograph_moves_by_its_own() -> None:
    each = np.array([[4, -3], [0, 0], [4, -3]], dtype=np.int8)
    moved = shift_each(PHOTOGRAPHS, each, "crop", FRAME)
    for index, (dx, dy) in enumerate(each.tolist()):
        assert torch.equal(moved[index], shift(PHOTOGRAPHS, dx, dy, "crop", FRAME)[index])


def test_every_boundary_mode_says_what_it_is() -> None:
    for name in boundaries.names():
        mode = boundaries.get(name)
        assert mode.label
        assert mode.describe(31, 28)
        assert mode.pad(PHOTOGRAPHS, 4, FRAME).shape == (3, 3, 36, 39)
    assert [boundaries.get(name).margin(4) for name in ("zero", "circular", "crop")] == [0, 0, 4]
