"""Image files, PNG and JPEG with 8 bits a channel, and folders of them with a subfolder for each class."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from shiftlab.config.params import Interpolation
from shiftlab.data.dataset import Examples
from shiftlab.errors import UserError

FORMATS = ("PNG", "JPEG")
GREY, COLOURED = ("1", "L"), ("RGB", "P")  # Pillow's modes of 8 bits a channel or less
MOST_CLASSES = 1000

Pixels = NDArray[np.uint8]


def load(
    root: Path, resize: int | None, crop: tuple[int, int] | None, channels: int | None
) -> tuple[Examples, tuple[str, ...]]:
    """Return the images of a folder with their labels, and the classes' names.

    Args:
        resize, crop: as `read`.
        channels: 1 makes all images grey, 3 all coloured; None: 3 if one of them is.

    Raises:
        UserError: as `listing` and `read`; images of different sizes.
    """
    paths, labels, classes = listing(root)
    images = [read(path, resize, crop) for path in tqdm(paths, desc=str(root), unit="img", leave=False)]
    _refuse_mixed(paths, images)
    channels = channels or max(image.shape[2] for image in images)
    stacked = np.stack([with_channels(image, channels) for image in images])
    return Examples(torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)), classes


def listing(root: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Return the files of a folder with a subfolder for each class, their labels, and the classes' names.

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
    """Read the image in a file, `(H, W, 1)` where it is grey, `(H, W, 3)` in red, green and blue where it is not.

    Args:
        resize: the shorter side, in pixels.
        crop: height and width of the center that is kept.

    Raises:
        UserError: as `decode`; it is smaller than `crop`.
    """
    with path.open("rb") as file:
        return cut(decode(file, str(path)), resize, crop, interpolation, str(path))


def cut(
    image: Image.Image | Pixels,
    resize: int | None,
    crop: tuple[int, int] | None,
    interpolation: Interpolation,
    name: str,
) -> Pixels:
    """Resize and crop an image in memory as `read`; an array is `(H, W, 1)` or `(H, W, 3)`; a message says `name`."""
    if isinstance(image, Image.Image):
        picture = image
    elif resize is None and crop == image.shape[:2]:
        return image
    else:
        picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
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
    """Decode the image in a PNG or JPEG file, grey or in red, green and blue, with 8 bits a channel, upright.

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
    """Return a picture's pixels, `(H, W, 1)` or `(H, W, 3)`."""
    pixels: Pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def _in_eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """Convert to grey or to red, green and blue, 8 bits each, if there is but one way to do so."""
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
    """Convert an image `(H, W, C)` to one channel or to three, where it has not so many."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.asarray(Image.fromarray(image).convert("L"))[..., np.newaxis]


def _images_of(folder: Path) -> list[Path]:
    paths = visible(folder)
    if not paths:
        raise UserError(f"{folder} is empty: put the class's images into it, or take it away")
    if inner := [path for path in paths if path.is_dir()]:
        raise UserError(f"{inner[0]} is a folder within a class: put its images into {folder}, or take it away")
    return paths


def visible(folder: Path) -> list[Path]:
    """List what a folder holds, sorted; what systems leave there unseen (.DS_Store, Thumbs.db) aside."""
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
