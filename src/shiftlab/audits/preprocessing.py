"""How raw pixels become a model's inputs: as options or the model's own file say, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shiftlab.config.audit import Channels, Layout, PreprocessingHints
from shiftlab.config.params import CropMode, ImageSize, Interpolation
from shiftlab.data.folder import Geometry
from shiftlab.errors import UserError

COUNT = {"grey": 1, "rgb": 3, "bgr": 3}
# What nothing can be measured without, and the options that say it.
REQUIRED = {
    "frame": "--crop 224 (or HEIGHTxWIDTH)",
    "channels": "--channels grey, rgb or bgr",
    "mean": "--mean 0.485,0.456,0.406, or --mean 0 --std 1 where it normalises by itself",
    "std": "--std 0.229,0.224,0.225",
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From raw images to a model's inputs, in the order of the fields: all of it is recorded."""

    resize: int | ImageSize | None = None
    interpolation: Interpolation = "bilinear"
    crop_mode: CropMode = "center"
    frame: ImageSize
    channels: Channels
    white: float = 1
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Layout = "nchw"

    @classmethod
    def of(cls, hints: PreprocessingHints, image: tuple[int, int, int] | None) -> Preprocessing:
        """Return the preprocessing that hints tell, completed by what follows from them.

        Args:
            image: channels, height and width of the images before resizing; None where they differ.
        """
        values = hints.known()
        if hints.layout == "nhw":
            values.setdefault("channels", "grey")
        if hints.resize is None and image is not None:
            values.setdefault("frame", image[1:])
        if missing := [option for name, option in REQUIRED.items() if name not in values]:
            raise UserError(f"nothing says how pixels become this model's inputs: give {'; '.join(missing)}")
        channels = values["channels"]
        for name in ("mean", "std"):
            if len(values[name]) not in (1, COUNT[channels]):
                raise UserError(
                    f"{name} has {len(values[name])} values for {COUNT[channels]} channels ({channels}): give one, or "
                    "one for each"
                )
        if not all(value > 0 for value in values["std"]):
            raise UserError(f"std is {', '.join(map(str, values['std']))}, and has to be above 0")
        if values.get("crop_mode") in ("squash", "border") and "resize" not in values:
            raise UserError(f"--crop-mode {values['crop_mode']} is a way to resize: give --size too")
        return cls(**values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a model sees of an image."""
        return (COUNT[self.channels], *self.frame)

    @property
    def geometry(self) -> Geometry:
        """How images are resized and cropped; a border has the mean's colour, as in timm."""
        count = COUNT[self.channels]
        fill = tuple(round(255 / self.white * value) for value in self.mean) * (count // len(self.mean))
        if self.crop_mode != "border":
            fill = (0,) * count
        elif self.channels == "bgr":
            fill = fill[::-1]
        return Geometry(self.resize, self.frame, self.interpolation, self.crop_mode, count, fill)

    @property
    def normalises(self) -> bool:
        """Do mean and std change anything?"""
        return any(self.mean) or set(self.std) != {1.0}

    @property
    def raw(self) -> bool:
        """Are the inputs pixels as they are, 0 to 255?"""
        return self.white == 255 and not self.normalises

    def __call__(self, images: Tensor) -> Tensor:
        """Return a model's inputs, float32 in its layout, of raw images of `shape`, `(N, C, H, W)` in 0..255, RGB."""
        pixels = images.to(torch.float32)
        if self.channels == "bgr":
            pixels = pixels.flip(1)
        if self.white != 255:
            pixels = pixels / 255 * self.white
        if self.normalises:
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
                for values in (self.mean, self.std)
            )
            pixels = (pixels - mean) / std
        if self.layout == "nhwc":
            return pixels.permute(0, 2, 3, 1).contiguous()
        return pixels.squeeze(1) if self.layout == "nhw" else pixels.contiguous()

    @property
    def _target(self) -> str:
        if isinstance(self.resize, int) and self.crop_mode in ("center", "pad"):
            return f"{self.resize} pixels along the shorter side"
        height, width = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize or self.frame
        how = {"squash": "be", "border": "fit, on the mean's colour, into"}.get(self.crop_mode, "cover")
        return f"{how} {width}x{height}"

    def __str__(self) -> str:
        height, width = self.frame
        mean, std = ("/".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        steps = [
            f"resized to {self._target} ({self.interpolation})" if self.resize else "",
            f"the middle {width}x{height}{' on black' if self.crop_mode == 'pad' else ''}",
            {"grey": "grey", "rgb": "red, green, blue", "bgr": "blue, green, red"}[self.channels],
            f"0..255 as 0..{self.white:g}",
            f"less {mean}, over {std}" if self.normalises else "",
            f"as {self.layout.upper()}",
        ]
        return ", ".join(filter(None, steps))


def hints_of_inputs(shape: Sequence[int | None], dtype: torch.dtype = torch.float32) -> PreprocessingHints:
    """Return what a file says of its inputs, by their type and the shape of one image; None or -1: a side is free.

    Bytes are raw pixels. Two sides are those of grey images; of three, the first or the last is 1 or 3 channels, unless
    both could be.
    """
    raw = PreprocessingHints(white=255, mean=(0.0,), std=(1.0,)) if dtype == torch.uint8 else PreprocessingHints()
    sizes = [size if size and size > 0 else None for size in shape]
    channels_first, channels_last = (len(sizes) == 3 and sizes[axis] in (1, 3) for axis in (0, -1))
    layout: Layout
    if len(sizes) == 2:
        layout, sides, grey = "nhw", sizes, True
    elif channels_first == channels_last:
        return raw
    elif channels_first:
        layout, sides, grey = "nchw", sizes[1:], sizes[0] == 1
    else:
        layout, sides, grey = "nhwc", sizes[:2], sizes[2] == 1
    height, width = sides
    frame = (height, width) if height and width else None
    return raw.merge(PreprocessingHints(frame=frame, channels="grey" if grey else None, layout=layout))
