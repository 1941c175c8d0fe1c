"""Drawings, and photographs of them, prepared as input of models trained on small white digits on black.

LeCun et al. 1998 say how MNIST was made: each digit scaled into a box of 20x20 pixels, put with its center of mass into
the middle of 28x28.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from shiftlab.data.folder import opened
from shiftlab.errors import UserError

Grey = NDArray[np.uint8]  # (H, W)
Frame = tuple[int, int]  # height and width in pixels of what a model sees

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_MEGAPIXELS = 60  # of a picture that is read
SIDE = 560  # pixels of the longer side on which a picture is worked
BOX = 20 / 28  # of the frame, that a centred digit's longer side takes
STROKE = 2.0  # pixels of the frame that a stroke is wide at least; thinner ones vanish
FAINT = 0.2  # of the darkest ink: below it lies the paper's grain
SPECK = 0.04  # of the largest stroke's ink: what has less is dirt
CONTRAST = 40  # of 255, between ink and paper at least


def read(path: Path) -> Image.Image:
    """Read a picture from a file, upright. UserError: as `opened`; it is too large."""
    with opened(path, "this", FORMATS) as image:
        megapixels = image.width * image.height / 1e6
        if megapixels > MOST_MEGAPIXELS:
            raise UserError(f"this has {megapixels:.0f} megapixels: make it smaller than {MOST_MEGAPIXELS}")
        image.draft(None, (2 * SIDE, 2 * SIDE))
        return ImageOps.exif_transpose(image).copy()


def prepare_grey(picture: Image.Image, centred: bool, frame: Frame) -> dict[str, Grey]:
    """Prepare a picture for a model of grey images: each step in words; the last is raw, white on black, `frame` large.

    Args:
        centred: as MNIST was; else it stays where it lies.

    Raises:
        UserError: there is nothing on it.
    """
    height, width = frame
    grey = as_grey(picture)
    ink = as_ink(grey)
    if centred:
        placed, words = center_by_mass(ink, frame), "centred by its mass, in a box of 5/7 of the frame"
    else:
        placed, words = pad_to_frame(ink, frame), "made as wide as the frame, where it lies"
    bold = thicken(placed, frame)
    return {
        "as it came, in grey": grey,
        "ink white, paper black": ink,
        words: placed,
        "strokes as thick as those learned from": bold,
        f"reduced to {width}x{height}: what the models see": _resize(bold, width, height, Image.Resampling.BOX),
    }


def prepare_colour(picture: Image.Image, centred: bool, frame: Frame) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG001
    """Prepare a picture for a model of coloured images, `(H, W, 3)`: each step in words; no ink is looked for on it."""
    height, width = frame
    paper = Image.new("RGBA", picture.size, "white")
    coloured = Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return {
        "as it came": np.asarray(ImageOps.contain(coloured, (SIDE, SIDE))),
        f"its middle, as {width}x{height}: what the models see": np.asarray(ImageOps.fit(coloured, (width, height))),
    }


def as_grey(picture: Image.Image) -> Grey:
    """Convert to grey, the longer side at most `SIDE` pixels; see-through parts are paper, whatever the ink."""
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if picture.has_transparency_data:
        grey, alpha = (np.asarray(band, dtype=np.float64) for band in picture.convert("RGBA").convert("LA").split())
        paper = 255.0 if (grey * alpha).sum() < 128 * max(alpha.sum(), 1) else 0.0
        return _round(paper + (grey - paper) * alpha / 255)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        return _round(255 * (values - values.min()) / max(np.ptp(values), 1))
    return np.asarray(picture.convert("L"))


def as_ink(grey: Grey) -> Grey:
    """Extract white ink on black: the paper, which the border tells, is taken off, with the shadows that lie on it.

    Raises:
        UserError: there is no ink.
    """
    values = grey.astype(np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if np.median(border) > 127:
        values = 255 - values
    # The paper is what remains after all that is narrower than a third of the picture is taken away.
    height, width = grey.shape
    small = _resize(values, width // 4 + 1, height // 4 + 1, Image.Resampling.BOX)
    window = max(3, min(small.shape) // 3)
    paper = ndimage.gaussian_filter(ndimage.grey_opening(small, size=window), window / 3)
    ink = (values - _resize(paper, width, height, Image.Resampling.BILINEAR)).clip(0)
    darkest = np.percentile(ink[ink > 0], 99) if ink.any() else 0.0
    if darkest < CONTRAST:
        raise UserError("nothing is drawn here: draw with a stronger line")
    ink = (ink / darkest).clip(0, 1)
    ink[ink < FAINT] = 0
    strokes, count = ndimage.label(ink, np.ones((3, 3)))
    mass = ndimage.sum_labels(ink, strokes, np.arange(count + 1))
    return _round(255 * np.where(mass[strokes] < SPECK * mass.max(), 0, ink))


def pad_to_frame(ink: Grey, frame: Frame) -> Grey:
    """Pad the ink with paper along its shorter side, until it has the frame's proportions."""
    height, width = ink.shape
    missing = max(0, -(-width * frame[0] // frame[1]) - height), max(0, -(-height * frame[1] // frame[0]) - width)
    return np.pad(ink, [(pixels // 2, pixels - pixels // 2) for pixels in missing])


def center_by_mass(ink: Grey, frame: Frame) -> Grey:
    """Crop to the ink, and pad until its longer side is `BOX` of the frame and its center of mass in the center."""
    cropped = ink[ndimage.find_objects((ink > 0).astype(int))[0]]
    shorter = round(max(cropped.shape) / BOX)
    padding = []
    for side, part, mass in zip(frame, cropped.shape, ndimage.center_of_mass(cropped.astype(np.float64)), strict=True):
        whole = round(shorter * side / min(frame))
        before = int(np.clip(round(whole / 2 - mass), 0, whole - part))
        padding.append((before, whole - part - before))
    return np.pad(cropped, padding)


def thicken(ink: Grey, frame: Frame) -> Grey:
    """Thicken strokes to `STROKE` pixels of the frame at least."""
    inside = ndimage.distance_transform_edt(ink > 127)
    if not inside.any():
        return ink
    width = 4 * inside[inside > 0].mean()  # the mean distance from the edge is a quarter of a stroke's width
    missing = STROKE * ink.shape[0] / frame[0] - width
    if missing < 1:
        return ink
    reach = int(np.ceil(missing / 2))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    thick: Grey = ndimage.grey_dilation(ink, footprint=x * x + y * y <= reach * reach)
    return thick


def _resize(pixels: NDArray[np.generic], width: int, height: int, method: Image.Resampling) -> NDArray[Any]:
    return np.asarray(Image.fromarray(pixels).resize((width, height), method))


def _round(values: NDArray[np.floating]) -> Grey:
    rounded: Grey = np.rint(values).astype(np.uint8)
    return rounded
