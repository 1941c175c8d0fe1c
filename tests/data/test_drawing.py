from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from shiftlab.data import drawing
from shiftlab.errors import UserError

FRAME = (28, 28)


def seven(size: tuple[int, int], mode: str, ink: object, paper: object, width: int) -> Image.Image:
    """A 7 in the left half of a sheet."""
    picture = Image.new(mode, size, paper)  # type: ignore[arg-type]
    wide, high = size
    corners = [(wide * 0.1, high * 0.3), (wide * 0.35, high * 0.3), (wide * 0.2, high * 0.7)]
    ImageDraw.Draw(picture).line(corners, fill=ink, width=width, joint="curve")  # type: ignore[arg-type]
    return picture


def photograph() -> Image.Image:
    """Dark ink on paper that a shadow lies across, with grain."""
    pixels = np.asarray(seven((1600, 1200), "L", 40, 230, 40)).astype(float)
    shade = 0.45 + 0.55 * np.linspace(0, 1, pixels.shape[1])
    return Image.fromarray(
        (pixels * shade + np.random.default_rng(0).normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
    )


PICTURES = {
    "dark on see-through": seven((560, 560), "RGBA", (0, 0, 0, 255), (0, 0, 0, 0), 46),
    "light on see-through": seven((560, 560), "RGBA", (255, 255, 255, 255), (0, 0, 0, 0), 46),
    "dark on white": seven((300, 300), "RGB", (20, 20, 60), (255, 255, 255), 24),
    "light on black": seven((300, 300), "L", 255, 0, 24),
    "thin": seven((560, 560), "L", 0, 255, 3),
    "wide sheet": seven((900, 300), "L", 0, 255, 24),
    "high sheet": seven((300, 900), "L", 0, 255, 24),
    "large": seven((6000, 5000), "L", 0, 255, 450),
    "a photograph": photograph(),
    "few bits": seven((300, 300), "1", 0, 1, 24),
    "many bits": Image.fromarray(np.asarray(seven((300, 300), "L", 0, 255, 24)).astype(np.uint16) * 257),
    "palette": seven((300, 300), "L", 0, 255, 24).convert("P"),
}


def last(picture: Image.Image, centred: bool, frame: tuple[int, int] = FRAME) -> NDArray[np.uint8]:
    return list(drawing.prepare_grey(picture, centred, frame).values())[-1]


@pytest.mark.parametrize("picture", PICTURES.values(), ids=list(PICTURES))
def test_ink_is_white_on_black_and_as_thick_as_what_was_learned_from(picture: Image.Image) -> None:
    seen = last(picture, centred=False)
    assert seen.shape == FRAME
    assert seen.dtype == np.uint8
    assert seen.max() > 200
    assert np.median(seen) == 0
    assert (seen[:, 16:] == 0).all()  # what lies at the left stays there
    assert seen.sum() > 20 * 255


@pytest.mark.parametrize("picture", PICTURES.values(), ids=list(PICTURES))
def test_centred_metric_lies_as_mnists_do(picture: Image.Image) -> None:
    seen = last(picture, centred=True)
    sides = [np.ptp(np.flatnonzero((seen > 50).any(axis=axis))) + 1 for axis in (0, 1)]
    assert 18 <= max(sides) <= 23  # a box of 20, thick strokes reaching beyond it
    y, x = ndimage.center_of_mass(seen.astype(float))
    assert abs(x - 13.5) < 3  # as far as the box leaves room
    assert abs(y - 13.5) < 3


def test_every_step_is_told() -> None:
    steps = drawing.prepare_grey(PICTURES["thin"], True, FRAME)
    assert list(steps)[-1] == "reduced to 28x28: what the models see"
    assert len(steps) == 5


def test_frame_need_not_be_square() -> None:
    assert last(PICTURES["dark on white"], False, (20, 40)).shape == (20, 40)
    assert last(PICTURES["dark on white"], True, (20, 40)).shape == (20, 40)


def test_picture_in_colour_is_cut_to_the_frame() -> None:
    red = Image.new("RGBA", (300, 100), (255, 0, 0, 255))
    *_, seen = drawing.prepare_colour(red, False, (64, 48)).values()
    assert seen.shape == (64, 48, 3)
    assert (seen == (255, 0, 0)).all()
    *_, seen = drawing.prepare_colour(Image.new("LA", (10, 10), (0, 0)), False, (8, 8)).values()
    assert (seen == 255).all()  # see-through is white


@pytest.mark.parametrize(
    "empty", [Image.new("RGBA", (560, 560)), Image.new("L", (50, 50), 255), Image.new("L", (50, 50), 90)]
)
def test_nothing_drawn_is_told(empty: Image.Image) -> None:
    with pytest.raises(UserError, match="nothing is drawn here"):
        drawing.prepare_grey(empty, False, FRAME)


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("seven")
    vector = tmp_path / "vector.svg"
    vector.write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    for path in (text, vector):
        with pytest.raises(UserError, match="this is not an image"):
            drawing.read(path)
    broken = tmp_path / "broken.png"
    PICTURES["dark on white"].save(broken)
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UserError, match="can't be read as an image"):
        drawing.read(broken)
    tiff = tmp_path / "one.tiff"
    PICTURES["dark on white"].save(tiff)
    with pytest.raises(UserError, match="this is TIFF: save it as PNG or JPEG"):
        drawing.read(tiff)


def test_too_large_a_picture_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (3000, 2000)).save(path)
    monkeypatch.setattr(drawing, "MOST_MEGAPIXELS", 5)
    with pytest.raises(UserError, match="6 megapixels: make it smaller than 5"):
        drawing.read(path)


def test_photograph_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    Image.new("L", (40, 20), 255).save(path, exif=exif)
    assert drawing.read(path).size == (20, 40)
