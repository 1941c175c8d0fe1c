"""A folder of the user's own images, with a subfolder for each class: PNG and JPEG, 8 bits a channel."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from shiftlab.config.params import Data
from shiftlab.data.dataset import Examples, split
from shiftlab.errors import UserError

FORMATS = ("PNG", "JPEG")
GREY, COLOURED = ("1", "L"), ("RGB", "P")  # Pillow's modes of 8 bits a channel or less
MOST_CLASSES = 1000
Interpolation = Literal["bilinear", "bicubic", "nearest"]

Pixels = NDArray[np.uint8]


def folder(wanted: Data) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Training and test images of the folder `wanted.path`, and its classes: its subfolders' names, in their order.

    Files are taken in the order of their names. Images that a camera's note (EXIF) says are turned are turned back.
    Then, as `wanted` says: resized along the shorter side (bilinear, antialiased), cut to the middle, made grey or not.

    Raises:
        UserError: a file that is no such image, or one that can be read in more than one way; a class without images;
            images of different sizes. The sentence names the file.
    """
    paths, labels, classes = listing(Path(wanted.path))
    images = [read(path, wanted.resize, wanted.crop) for path in tqdm(paths, desc=wanted.path, unit="img", leave=False)]
    _refuse_mixed(paths, images)
    channels = wanted.channels or max(image.shape[2] for image in images)
    stacked = np.stack([with_channels(image, channels) for image in images])
    everything = Examples(torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels))
    assert wanted.test is not None  # params.py has seen to that
    rest, test = split(everything, wanted.test, wanted.split_seed, "data.test")
    return rest, test, classes


def listing(root: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The files of a folder with a subfolder for each class, their labels, and the classes' names.

    Raises:
        UserError: a class without files; a file that belongs to no class; too few classes, or too many.
    """
    classes = sorted(path for path in visible(root) if path.is_dir())
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"{root} has {len(classes)} subfolders: there must be one for each class, 2 to {MOST_CLASSES:,} of them"
        )
    if stray := [path for path in visible(root) if not path.is_dir()]:
        raise UserError(f"{stray[0]} belongs to no class: put it into a subfolder, or take it away")
    paths = [(path, label) for label, name in enumerate(classes) for path in _images_of(name)]
    return [path for path, _ in paths], [label for _, label in paths], tuple(path.name for path in classes)


def read(
    path: Path,
    resize: int | None = None,
    crop: tuple[int, int] | None = None,
    interpolation: Interpolation = "bilinear",
) -> Pixels:
    """The image in a file, `(H, W, 1)` where it is grey, `(H, W, 3)` in red, green and blue where it is not.

    Args:
        resize: the shorter side, in pixels.
        crop: height and width of the middle that is kept.

    Raises:
        UserError: as `decode`; it is smaller than `crop`.
    """
    with path.open("rb") as file:
        return _cut(decode(file, str(path)), resize, crop, interpolation, str(path))


def cut(
    pixels: Pixels, resize: int | None, crop: tuple[int, int] | None, interpolation: Interpolation, name: str
) -> Pixels:
    """The same of an image that is in memory, `(H, W, 1)` or `(H, W, 3)`, which a message calls `name`."""
    if resize is None and crop == pixels.shape[:2]:
        return pixels
    return _cut(
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels), resize, crop, interpolation, name
    )


def _cut(
    picture: Image.Image, resize: int | None, crop: tuple[int, int] | None, interpolation: Interpolation, name: str
) -> Pixels:
    if resize:
        scale = resize / min(picture.size)
        width, height = (max(resize, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling[interpolation.upper()])
    if crop:
        height, width = crop
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        if min(left, top) < 0:
            raise UserError(
                f"{name} has {picture.width}x{picture.height} pixels, too few to cut {width}x{height} from: choose a "
                "smaller crop, or a larger resize"
            )
        picture = picture.crop((left, top, left + width, top + height))
    return as_pixels(picture)


def decode(file: BinaryIO, name: str) -> Image.Image:
    """The image in a PNG or JPEG file, grey or in red, green and blue, with 8 bits a channel, upright.

    Args:
        name: what a message calls the file.

    Raises:
        UserError: it is no PNG or JPEG, broken, animated, has more than 8 bits a channel, see-through pixels, or other
            colours than red, green and blue.
    """
    try:
        with Image.open(file) as opened:
            if opened.format not in FORMATS:
                raise UserError(f"{name} is {opened.format}: only PNG and JPEG are read, so save it as one of them")
            if getattr(opened, "is_animated", False):
                raise UserError(f"{name} is animated: save the picture that is meant as a PNG of its own")
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except UnidentifiedImageError:
        raise UserError(f"{name} is not an image: only PNG and JPEG are read, so take it away") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} can't be read as an image ({error}): replace it, or take it away") from None
    return _in_eight_bits(picture, name)


def as_pixels(picture: Image.Image) -> Pixels:
    """A picture's pixels, `(H, W, 1)` or `(H, W, 3)`."""
    pixels: Pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def _in_eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """The picture as grey or red, green and blue, 8 bits each, if there is but one way to see it so."""
    if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            raise UserError(f"{name} has see-through pixels: save it on the background that is meant")
        red, green, blue, _ = (np.asarray(picture.getchannel(channel)) for channel in "RGBA")
        grey = np.array_equal(red, green) and np.array_equal(red, blue)
        return picture.getchannel("R") if grey else picture.convert("RGB")
    if picture.mode in GREY:
        return picture.convert("L")
    if picture.mode in COLOURED:
        return picture.convert("RGB")
    if picture.mode.startswith(("I", "F")):
        raise UserError(f"{name} has more than 8 bits a channel: save it with 8")
    raise UserError(f"{name} has the colours {picture.mode}, not red, green and blue: save it as RGB")


def with_channels(image: Pixels, channels: int) -> Pixels:
    """The image `(H, W, C)` made grey, or grey made of three channels, where it is not what is wanted."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.asarray(Image.fromarray(image).convert("L"))[..., np.newaxis]


def _images_of(folder: Path) -> list[Path]:
    found = list(visible(folder))
    if not found:
        raise UserError(f"{folder} is empty: put the class's images into it, or take it away")
    if inner := [path for path in found if path.is_dir()]:
        raise UserError(f"{inner[0]} is a folder within a class: put its images into {folder}, or take it away")
    return found


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name; what systems leave there unseen (.DS_Store, Thumbs.db) aside."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "Thumbs.db")
    except NotADirectoryError:
        raise UserError(f"{folder} is a file: name the folder that holds one for each class") from None


def _refuse_mixed(paths: Sequence[Path], images: Sequence[Pixels]) -> None:
    height, width = images[0].shape[:2]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != (height, width):
            raise UserError(
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels, and {paths[0]} {width}x{height}: all must have "
                "the same, which `-S data.resize=32 -S 'data.crop=[32,32]'` sees to"
            )
