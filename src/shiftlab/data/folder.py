"""Image files, PNG and JPEG with 8 bits a channel, and folders of them with a subfolder for each class."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from shiftlab.config.params import Background, CropMode, Interpolation
from shiftlab.data.dataset import Examples, class_names
from shiftlab.errors import UserError

FORMATS = ("PNG", "JPEG")
MOST_CLASSES = 1000
Size = tuple[int, int]  # height, width
Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = NDArray[np.uint8]  # (H, W, 1) grey, or (H, W, 3) red, green, blue


@dataclass(frozen=True)
class Geometry:
    """The middle of an image that a model sees: as torchvision's `Resize` and `CenterCrop`, and timm's, bit for bit."""

    resize: int | Size | None = None  # pixels of the shorter side, or height and width
    crop: Size | None = None
    interpolation: Interpolation = "bilinear"
    mode: CropMode = "center"
    channels: int | None = None  # 1 or 3; None: those of the image
    fill: tuple[int, ...] = (0, 0, 0)  # the colour of a border

    def resized(self, size: Size) -> Size:
        """Return the height and width that an image of `size` is resized to."""
        if self.resize is None:
            return size
        if isinstance(self.resize, int) and self.mode in ("center", "pad"):
            return (int(self.resize * size[0] / min(size)), int(self.resize * size[1] / min(size)))
        target = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        if self.mode == "squash":
            return target
        ratios = (size[0] / target[0], size[1] / target[1])
        ratio = max(ratios) if self.mode == "border" else min(ratios)
        return (round(size[0] / ratio), round(size[1] / ratio))


WHOLE = Geometry()


def load(
    root: Path, resize: int | None, crop: Size | None, channels: int | None, background: Background | None = None
) -> tuple[Examples, tuple[str, ...]]:
    """Return the images of a folder with their labels, and the classes' names.

    Args:
        resize, crop: as `cut`.
        channels: 1 makes all images grey, 3 all coloured; None: 3 if one of them is.
        background: as `decode`.

    Raises:
        UserError: as `listing` and `read_all`; images of different sizes.
    """
    paths, labels, classes = listing(root)
    bar = tqdm(paths, desc=str(root), unit="img", leave=False)
    geometry = Geometry(resize, crop)
    images = read_all(lambda path: read(path, geometry, background=background), bar, len(paths))
    height, width, _ = images[0].shape
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != (height, width):
            raise UserError(
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels, and {paths[0]} {width}x{height}: all must have "
                "the same, which `-S data.resize=32 -S 'data.crop=[32,32]'` sees to"
            )
    channels = channels or max(image.shape[2] for image in images)
    stacked = np.stack([with_channels(image, channels) for image in images])
    return Examples(torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)), classes


def listing(root: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Return the files of a folder with a subfolder for each class, their labels, and the classes' names.

    Raises:
        UserError: a class without files; a file that belongs to no class; too few classes, or too many; as
            `class_names`.
    """
    classes = [path for path in visible(root) if path.is_dir()]
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"{root} has {len(classes)} subfolders: there must be one for each class, 2 to {MOST_CLASSES:,} of them"
        )
    if stray := [path for path in visible(root) if not path.is_dir()]:
        raise UserError(f"{stray[0]} belongs to no class: put it into a subfolder, or take it away")
    paths, labels = [], []
    for label, folder in enumerate(classes):
        images = visible(folder)
        if not images:
            raise UserError(f"{folder} is empty: put the class's images into it, or take it away")
        if inner := [path for path in images if path.is_dir()]:
            raise UserError(f"{inner[0]} is a folder within a class: put its images into {folder}, or take it away")
        paths += images
        labels += [label] * len(images)
    return paths, labels, class_names(folder.name for folder in classes)


def visible(folder: Path) -> list[Path]:
    """List what a folder holds, sorted; what systems leave there unseen (.DS_Store, Thumbs.db) aside."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "Thumbs.db")
    except NotADirectoryError:
        raise UserError(f"{folder} is a file: name the folder that holds one for each class") from None


def read_all(function: Callable[[Item], Result], items: Iterable[Item], total: int) -> list[Result]:
    """Return what a function reads of each of `total` images.

    Raises:
        UserError: some can't be read; the sentence tells how many, and of the first what `function` raised.
    """
    results, problems = [], []
    for item in items:
        try:
            results.append(function(item))
        except UserError as error:
            problems.append(str(error))
    if len(problems) > 1:
        raise UserError(f"{len(problems):,} of {total:,} images can't be used; the first: {problems[0]}")
    if problems:
        raise UserError(problems[0])
    return results


def read(path: Path, geometry: Geometry = WHOLE, margin: int = 0, background: Background | None = None) -> Pixels:
    """Read the image in a file. UserError: as `decode` and `cut`."""
    return cut(decode(path, str(path), background), geometry, str(path), margin)


def cut(image: Image.Image | Pixels, geometry: Geometry, name: str, margin: int = 0) -> Pixels:
    """Resize an image, then crop it to its center and `margin` pixels more on each side.

    Raises:
        UserError: it is smaller than that; `name` is what the message calls it.
    """
    if isinstance(image, Image.Image):
        picture = image
    elif (geometry.resize, geometry.crop, margin) == (None, image.shape[:2], 0):
        return image
    else:
        picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    if geometry.channels:
        picture = picture.convert("L" if geometry.channels == 1 else "RGB")
    height, width = geometry.resized((picture.height, picture.width))
    if geometry.resize:
        picture = picture.resize((width, height), Image.Resampling[geometry.interpolation.upper()])
    if geometry.crop:
        short = [max(0, side - own) for side, own in zip(geometry.crop, (height, width), strict=True)]
        if geometry.mode != "center" and any(short):
            top, left = (pixels // 2 for pixels in short)
            border = (left, top, short[1] - left, short[0] - top)
            picture = ImageOps.expand(picture, border, geometry.fill if picture.mode == "RGB" else geometry.fill[0])
        picture = _crop_center(picture, geometry.crop, margin, name)
    return as_pixels(picture)


def _crop_center(picture: Image.Image, crop: Size, margin: int, name: str) -> Image.Image:
    """Crop as torchvision, which rounds half a pixel to an even one."""
    height, width = crop
    left, top = round((picture.width - width) / 2) - margin, round((picture.height - height) / 2) - margin
    right, bottom = left + width + 2 * margin, top + height + 2 * margin
    if min(left, top) < 0 or right > picture.width or bottom > picture.height:
        raise UserError(
            f"{name} has {picture.width}x{picture.height} pixels, too few to cut {right - left}x{bottom - top} from: "
            "choose a smaller crop, or a larger resize"
        )
    return picture.crop((left, top, right, bottom))


@contextmanager
def opened(file: Path | BinaryIO, name: str, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """Open an image of one of the formats, to be decoded within the block.

    Raises:
        UserError: it is no image, of another format, or broken; `name` is what the message calls it.
    """
    try:
        with Image.open(file) as image:
            if image.format not in formats:
                raise UserError(f"{name} is {image.format}: save it as PNG or JPEG")
            yield image
    except UnidentifiedImageError:
        raise UserError(f"{name} is not an image: save it as PNG or JPEG, or take it away") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} can't be read as an image ({error}): save it anew, or take it away") from None


def decode(file: Path | BinaryIO, name: str, background: Background | None = None) -> Image.Image:
    """Decode the image in a PNG or JPEG file, grey or in red, green and blue, with 8 bits a channel, upright.

    Args:
        background: the colour behind see-through pixels; None refuses those.

    Raises:
        UserError: as `opened`; it is animated, has more than 8 bits a channel, see-through pixels, or other colours
            than red, green and blue.
    """
    with opened(file, name) as image:
        if getattr(image, "is_animated", False):
            raise UserError(f"{name} is animated: save the picture that is meant as a PNG of its own")
        picture = ImageOps.exif_transpose(image)
        picture.load()
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if background:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, background), picture)
        if picture.getchannel("A").getextrema() != (255, 255):
            raise UserError(
                f"{name} has see-through pixels: set data.background to white or black, or save it on the background "
                "that is meant"
            )
        red, green, blue, _ = picture.split()
        return red if red.tobytes() == green.tobytes() == blue.tobytes() else picture.convert("RGB")
    if picture.mode.startswith(("I", "F")):
        raise UserError(f"{name} has more than 8 bits a channel: save it with 8")
    if picture.mode not in ("1", "L", "RGB", "P"):
        raise UserError(f"{name} has the colours {picture.mode}, not red, green and blue: save it as RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def as_pixels(picture: Image.Image) -> Pixels:
    """Return a picture's pixels."""
    pixels: Pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Convert an image `(H, W, C)` to one channel or to three, where it has not so many."""
    if image.shape[2] == channels:
        return image
    return np.repeat(image, 3, axis=2) if channels == 3 else as_pixels(Image.fromarray(image).convert("L"))
