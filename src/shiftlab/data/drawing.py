"""Drawings, and photographs of them, prepared as input of models trained on small white digits on black.

LeCun et al. 1998 say how MNIST was made: each digit scaled into a box of 20x20 pixels, put with its centre of mass into
the middle of 28x28.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from shiftlab.errors import UserError

Grey = NDArray[np.uint8]  # (H, W)
Frame = tuple[int, int]  # height and width in pixels of what a model sees

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 60_000_000  # of a picture that is read
SIDE = 560  # pixels of the longer side on which a picture is worked
BOX = 20 / 28  # of the frame, that a centred digit's longer side takes
STROKE = 2.0  # pixels of the frame that a stroke is wide at least; thinner ones vanish
FAINT = 0.2  # of the darkest ink: below it lies the paper's grain
SPECK = 0.04  # of the largest stroke's ink: what has less is dirt
CONTRAST = 40  # of 255, between ink and paper at least


def read(path: Path) -> Image.Image:
    """Read a picture from a file, upright.

    Raises:
        UserError: it is no picture, of another format, broken, or too large.
    """
    try:
        with Image.open(path) as opened:
            if opened.format not in FORMATS:
                raise UserError(f"this is {opened.format}: save it as PNG or JPEG")
            if opened.width * opened.height > MOST_PIXELS:
                raise UserError(
                    f"this has {opened.width * opened.height / 1e6:.0f} megapixels: make it smaller than "
                    f"{MOST_PIXELS / 1e6:.0f}"
                )
            opened.draft(None, (2 * SIDE, 2 * SIDE))
            return ImageOps.exif_transpose(opened).copy()
    except UnidentifiedImageError:
        raise UserError("this is not a picture: give a PNG or JPEG (of an SVG, save it as PNG)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"this can't be read as a picture ({error}): save it anew as PNG or JPEG") from None


def prepare_grey(picture: Image.Image, centred: bool, frame: Frame) -> dict[str, Grey]:
    """Prepare a picture for a model of grey images: each step in words; the last is raw, white on black, `frame` large.

    Args:
        centred: as MNIST was; else it stays where it lies.

    Raises:
        UserError: there is nothing on it.
    """
    grey = as_grey(picture)
    ink = as_ink(grey)
    if centred:
        placed, words = center_by_mass(ink, frame), "centred by its mass, in a box of 5/7 of the frame"
    else:
        placed, words = pad_to_frame(ink, frame), "made as wide as the frame, where it lies"
    bold = thicken(placed, frame)
    height, width = frame
    small = np.asarray(Image.fromarray(bold).resize((width, height), Image.Resampling.BOX))
    return {
        "as it came, in grey": grey,
        "ink white, paper black": ink,
        words: placed,
        "strokes as thick as those learned from": bold,
        f"reduced to {width}x{height}: what the models see": small,
    }


def prepare_colour(picture: Image.Image, centred: bool, frame: Frame) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG001
    """Prepare a picture for a model of coloured images, `(H, W, 3)`: each step in words; no ink is looked for on it."""
    height, width = frame
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture.convert("RGBA"))
    coloured = paper.convert("RGB")
    return {
        "as it came": np.asarray(ImageOps.contain(coloured, (SIDE, SIDE))),
        f"its middle, as {width}x{height}: what the models see": np.asarray(ImageOps.fit(coloured, (width, height))),
    }


def as_grey(picture: Image.Image) -> Grey:
    """Convert to grey, the longer side at most `SIDE` pixels; see-through parts are paper, whatever the ink."""
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        grey, alpha = (np.asarray(band, dtype=np.float64) for band in (picture.convert("L"), picture.getchannel("A")))
        weight = alpha.sum()
        paper = 255.0 if weight == 0 or (grey * alpha).sum() / weight < 128 else 0.0
        return _round(paper + (grey - paper) * alpha / 255)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        low, high = values.min(), max(values.max(), values.min() + 1)
        return _round(255 * (values - low) / (high - low))
    return np.asarray(picture.convert("L"))


def as_ink(grey: Grey) -> Grey:
    """Extract white ink on black: the paper, which the border tells, is taken off, with the shadows that lie on it.

    Raises:
        UserError: there is no ink.
    """
    values = grey.astype(np.float64)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if np.median(border) > 127:
        values = 255 - values
    # The paper is what remains after all that is narrower than a third of the picture is taken away.
    height, width = grey.shape
    small = Image.fromarray(values.astype(np.float32)).resize((width // 4 + 1, height // 4 + 1), Image.Resampling.BOX)
    window = max(3, min(small.size) // 3)
    opened = ndimage.gaussian_filter(ndimage.grey_opening(np.asarray(small), size=window), window / 3)
    paper = np.asarray(Image.fromarray(opened).resize((width, height), Image.Resampling.BILINEAR))
    ink = (values - np.minimum(paper, values)).clip(0)
    darkest = np.percentile(ink[ink > 0], 99) if (ink > 0).any() else 0.0
    if darkest < CONTRAST:
        raise UserError("nothing is drawn here: draw with a stronger line")
    ink = (ink / darkest).clip(0, 1)
    ink[ink < FAINT] = 0
    strokes, count = ndimage.label(ink, np.ones((3, 3)))
    mass = ndimage.sum_labels(ink, strokes, np.arange(count + 1))
    return _round(255 * np.where(mass[strokes] < SPECK * mass.max(), 0, ink))


def _round(values: NDArray[np.floating]) -> Grey:
    rounded: Grey = np.rint(values).astype(np.uint8)
    return rounded


def pad_to_frame(ink: Grey, frame: Frame) -> Grey:
    """Pad the ink with paper along its shorter side, until it has the frame's proportions."""
    height, width = ink.shape
    missing = max(0, -(-width * frame[0] // frame[1]) - height), max(0, -(-height * frame[1] // frame[0]) - width)
    return np.pad(ink, [(pixels // 2, pixels - pixels // 2) for pixels in missing])


def center_by_mass(ink: Grey, frame: Frame) -> Grey:
    """Crop to the ink, and pad until its longer side is `BOX` of the frame and its centre of mass in the center."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
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
