"""A folder of the user's own images: what is read, and what is refused in one sentence that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shiftlab.config.params import Data
from shiftlab.data.folder import Geometry, read
from shiftlab.data.prepare import build_dataset
from shiftlab.data.sources.folder import load
from shiftlab.errors import UserError
from tests.helpers import PARAMETERS

RNG = np.random.default_rng(0)


def options(path: Path, **changes: Any) -> Data:
    values = {**PARAMETERS["data"], "name": "folder", "source": "folder", "path": str(path)}
    return Data.model_validate({**values, "test": 0.25, "validation": 0.25, **changes})


def noise(height: int = 20, width: int = 26, channels: int = 3) -> Image.Image:
    pixels = RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Three kinds, eight images each."""
    root = tmp_path / "birds"
    for kind in ("wren", "auk", "a tit"):
        (root / kind).mkdir(parents=True)
        for number in range(8):
            suffix = "png" if number % 2 else "JPG"
            noise().save(root / kind / f"{number}.{suffix}", "PNG" if number % 2 else "JPEG")
    return root


def test_subfolders_are_classes(birds: Path) -> None:
    train, test, classes = load(options(birds))
    assert classes == ("a tit", "auk", "wren")
    assert train.images.shape == (18, 3, 20, 26)
    assert test.images.shape == (6, 3, 20, 26)
    assert train.images.dtype == torch.uint8
    assert test.labels.bincount().tolist() == [2, 2, 2]


def test_pixels_arrive_as_they_are(birds: Path) -> None:
    train, test, _ = load(options(birds))
    images = [*train.images, *test.images]
    for kind in ("wren", "auk", "a tit"):
        with Image.open(birds / kind / "1.png") as opened:
            expected = torch.from_numpy(np.asarray(opened).copy()).permute(2, 0, 1)
        assert sum(torch.equal(image, expected) for image in images) == 1


def test_whole_data_set_is_the_same_every_time(birds: Path) -> None:
    first, again = (build_dataset(options(birds, frame=[16, 18])) for _ in range(2))
    assert torch.equal(first.train.images, again.train.images)
    assert first.shape == (3, 16, 18)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [13, 5, 6]


def test_what_systems_leave_unseen_is_passed_over(birds: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "wren/.DS_Store", "wren/Thumbs.db"):
        (birds / name).write_bytes(b"whatever")
    assert len(load(options(birds))[0]) == 18


def test_grey_images_stay_grey_unless_one_has_colours(birds: Path) -> None:
    for path in birds.rglob("*.*"):
        noise(channels=1).save(path.with_suffix(".png"))
        if path.suffix != ".png":
            path.unlink()
    assert load(options(birds))[0].images.shape[1] == 1
    noise().save(birds / "auk" / "coloured.png")
    train, test, _ = load(options(birds))
    assert train.images.shape[1] == 3
    images = torch.cat([train.images, test.images])
    assert sum(bool((image[0] == image[1]).all()) for image in images) == len(images) - 1
    assert load(options(birds, channels=1))[0].images.shape[1] == 1


def turned(path: Path) -> None:
    """A camera's note says that the picture lies on its side: rows are columns."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(26, 20).save(path, exif=exif)


def test_picture_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    turned(tmp_path / "turned.jpg")
    assert read(tmp_path / "turned.jpg").shape == (20, 26, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_every_way_to_store_8_bits_is_read(mode: str, tmp_path: Path) -> None:
    noise().convert(mode).save(tmp_path / "image.png")
    assert read(tmp_path / "image.png").shape == (20, 26, 1 if mode in ("1", "L", "LA") else 3)


@pytest.mark.parametrize(("size", "resized"), [((40, 52), (20, 26)), ((52, 40), (26, 20)), ((7, 21), (20, 60))])
def test_shorter_side_is_resized(size: tuple[int, int], resized: tuple[int, int], tmp_path: Path) -> None:
    noise(*size).save(tmp_path / "image.png")
    assert read(tmp_path / "image.png", Geometry(20)).shape[:2] == resized
    assert read(tmp_path / "image.png", Geometry(20, (20, 18))).shape == (20, 18, 3)


def test_middle_is_kept(tmp_path: Path) -> None:
    noise(21, 30).save(tmp_path / "image.png")
    whole = read(tmp_path / "image.png")
    assert np.array_equal(
        read(tmp_path / "image.png", Geometry(crop=(10, 11))), whole[6:16, 10:21]
    )  # half a pixel is rounded as torchvision does


def sixteen_bits(path: Path) -> None:
    Image.fromarray(RNG.integers(0, 65536, (20, 26), dtype=np.uint16)).save(path, "PNG")


def animated(path: Path) -> None:
    noise().save(path, "GIF", save_all=True, append_images=[noise(), noise()])


def animated_png(path: Path) -> None:
    noise().save(path, "PNG", save_all=True, append_images=[noise()])


def see_through(path: Path) -> None:
    picture = noise().convert("RGBA")
    picture.putalpha(128)
    picture.save(path, "PNG")


def cut_off(path: Path) -> None:
    noise(200, 200).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


BAD: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_text("not an image"), "is not an image"),
    (lambda path: path.write_bytes(b""), "is not an image"),
    (cut_off, "can't be read"),
    (animated, "is GIF"),
    (animated_png, "is animated"),
    (sixteen_bits, "more than 8 bits"),
    (lambda path: noise().convert("CMYK").save(path, "JPEG"), "CMYK"),
    (see_through, "see-through"),
    (lambda path: noise().save(path, "BMP"), "is BMP"),
    (lambda path: noise(19, 26).save(path, "PNG"), "26x19 pixels, and"),
    (lambda path: path.mkdir(), "is a folder within a class"),
]


@pytest.mark.parametrize(("make", "reason"), BAD)
def test_what_is_no_such_image_is_refused_by_name(make: Callable[[Path], object], reason: str, birds: Path) -> None:
    make(birds / "auk" / "9.jpg")
    with pytest.raises(UserError) as caught:
        build_dataset(options(birds))
    message = str(caught.value)
    assert str(birds / "auk" / "9.jpg") in message
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda root: (root / "owl").mkdir(), "owl is empty"),
        (lambda root: noise().save(root / "stray.png"), "stray.png belongs to no class"),
        (lambda root: [path.rename(path.with_name(f".{path.name}")) for path in root.iterdir()], "0 subfolders"),
    ],
)
def test_folder_that_is_no_data_set_is_refused(spoil: Callable[[Path], object], reason: str, birds: Path) -> None:
    spoil(birds)
    with pytest.raises(UserError, match=reason):
        build_dataset(options(birds))


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file: name the folder"):
        load(options(tmp_path / "file"))


def test_mixed_sizes_can_be_made_one(birds: Path) -> None:
    noise(50, 90).save(birds / "auk" / "9.png")
    assert load(options(birds, resize=16, crop=[16, 16]))[0].images.shape[1:] == (3, 16, 16)


def test_class_without_a_training_image_is_refused(birds: Path) -> None:
    (birds / "owl").mkdir()
    noise().save(birds / "owl" / "only.png")
    with pytest.raises(UserError, match=r"no training image of the class 'owl' is left"):
        build_dataset(options(birds, test=0.8))


def test_frame_larger_than_the_images_is_refused(birds: Path) -> None:
    with pytest.raises(UserError, match=r"data\.frame is \[16, 30\], larger than the images"):
        build_dataset(options(birds, frame=[16, 30]))


def test_crop_larger_than_an_image_is_refused(birds: Path) -> None:
    with pytest.raises(UserError, match="too few to cut 26x24 from"):
        build_dataset(options(birds, crop=[24, 26]))
