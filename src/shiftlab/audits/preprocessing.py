"""How raw pixels become a model's inputs: as options or the model's own file say, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shiftlab.config.audit import Channels, Interpolation, Layout, PreprocessingHints
from shiftlab.errors import UserError

COUNT = {"grey": 1, "rgb": 3, "bgr": 3}
# What nothing can be measured without, and the options that say it.
OPTIONS = {
    "frame": "--crop 224 (or HEIGHTxWIDTH)",
    "channels": "--channels grey, rgb or bgr",
    "mean": "--mean 0.485,0.456,0.406, or --mean 0 --std 1 where it normalises by itself",
    "std": "--std 0.229,0.224,0.225",
}


@dataclass(frozen=True)
class Preprocessing:
    """From raw images to a model's inputs, in the order of the fields: all of it is recorded."""

    resize: int | None
    interpolation: Interpolation
    frame: tuple[int, int]
    channels: Channels
    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Layout

    @classmethod
    def of(cls, known: PreprocessingHints, image: tuple[int, int, int] | None) -> Preprocessing:
        """Return the preprocessing that hints tell, completed by what follows from them.

        Args:
            image: channels, height and width of the images before resizing; None where they differ.

        Raises:
            UserError: something is not known that pixels don't tell; or hints contradict one another.
        """
        channels = known.channels
        if channels is None and known.layout == "nhw":
            channels = "grey"
        frame = known.frame
        if frame is None and known.resize is None and image is not None:
            frame = image[1:]
        needed = {"frame": frame, "channels": channels, "mean": known.mean, "std": known.std}
        if missing := [OPTIONS[name] for name, value in needed.items() if value is None]:
            raise UserError(f"nothing says how pixels become this model's inputs: give {'; '.join(missing)}")
        assert frame is not None and channels is not None and known.mean is not None and known.std is not None  # noqa: PT018
        for name, values in (("mean", known.mean), ("std", known.std)):
            if len(values) not in (1, COUNT[channels]):
                raise UserError(
                    f"{name} has {len(values)} values for {COUNT[channels]} channels ({channels}): give one, or one "
                    "for each"
                )
        if not all(value > 0 for value in known.std):
            raise UserError(f"std is {', '.join(map(str, known.std))}, and has to be above 0")
        return cls(
            known.resize,
            known.interpolation or "bilinear",
            frame,
            channels,
            known.white or 1,
            known.mean,
            known.std,
            known.layout or "nchw",
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a model sees of an image."""
        return (COUNT[self.channels], *self.frame)

    @property
    def raw(self) -> bool:
        """Are the inputs pixels as they are, 0 to 255?"""
        return self.white == 255 and not any(self.mean) and set(self.std) == {1.0}

    def __call__(self, images: Tensor) -> Tensor:
        """Return a model's inputs, float32 in its layout, of raw images of `shape`, `(N, C, H, W)` in 0..255, RGB."""
        pixels = images.to(torch.float32)
        if self.channels == "bgr":
            pixels = pixels.flip(1)
        if self.white != 255:
            pixels = pixels / 255 * self.white if self.white != 1 else pixels / 255
        if any(self.mean) or set(self.std) != {1.0}:
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
                for values in (self.mean, self.std)
            )
            pixels = (pixels - mean) / std
        if self.layout == "nhwc":
            return pixels.permute(0, 2, 3, 1).contiguous()
        return pixels.squeeze(1) if self.layout == "nhw" else pixels.contiguous()

    def __str__(self) -> str:
        height, width = self.frame
        steps = [
            f"resized to {self.resize} pixels along the shorter side ({self.interpolation})" if self.resize else "",
            f"the middle {width}x{height}",
            {"grey": "grey", "rgb": "red, green, blue", "bgr": "blue, green, red"}[self.channels],
            f"0..255 as 0..{self.white:g}",
            f"less {_listed(self.mean)}, over {_listed(self.std)}" if any(self.mean) or set(self.std) != {1.0} else "",
            f"as {self.layout.upper()}",
        ]
        return ", ".join(filter(None, steps))


def _listed(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def hints_of_shape(sizes: Sequence[int | None]) -> PreprocessingHints:
    """Return what the shape of one input image, without the batch's axis, tells; None or -1 where a side is free.

    Two sides are those of grey images; of three, the first or the last is 1 or 3 channels, unless both could be.
    """
    known = [size if size and size > 0 else None for size in sizes]
    layout: Layout | None = None
    channels: Channels | None = None
    sides: list[int | None] = []
    if len(known) == 2:
        layout, channels, sides = "nhw", "grey", known
    elif len(known) == 3 and (known[0] in (1, 3)) != (known[2] in (1, 3)):
        layout = "nchw" if known[0] in (1, 3) else "nhwc"
        number, sides = (known[0], known[1:]) if layout == "nchw" else (known[2], known[:2])
        channels = "grey" if number == 1 else None
    frame = (sides[0], sides[1]) if sides and sides[0] and sides[1] else None
    return PreprocessingHints(frame=frame, channels=channels, layout=layout)
