"""The components of networks whose components can be chosen, without importing PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Downsampling = Literal["none", "stride", "average", "max", "larger max", "blurred max", "polyphase max"]
Padding = Literal["zero", "circular", "valid"]
Activation = Literal["relu", "sigmoid", "gelu", "identity"]
Head = Literal["flatten", "average", "max"]

DOWNSAMPLED = 2  # convolutions, the first ones, after each of which half of the pixels a side are left
SMALLEST = {"stride": 1, "average": 2, "max": 2, "larger max": 2, "blurred max": 3, "polyphase max": 2}  # pixels a side
WRAPPED = ("blurred max", "circular")  # goes on at the other side where other poolings lose an odd last pixel


class Components(BaseModel):
    """Base class of the components of an architecture."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def refuse_size(self, height: int, width: int) -> None:
        """Raise a ValueError where no such network can be built for images of that size."""


class Small(Components):
    """Components of the architecture `small`."""

    downsampling: Downsampling = "max"  # none: dilated convolutions instead, which see as far
    padding: Padding = "zero"
    activation: Activation = "relu"
    head: Head = "flatten"  # what makes a vector of the last maps, before the one dense layer
    layers: Annotated[int, Field(ge=DOWNSAMPLED, le=8)] = 3  # convolutions

    def refuse_size(self, height: int, width: int) -> None:
        """As `Components.refuse_size`: every convolution needs a pixel, and some downsamplings more than one."""
        for pixels in (height, width):
            self.last_side(pixels)

    def dilation(self, layer: int) -> int:
        """Return the dilation of a convolution, counted from 0: it sees as far as if maps had been downsampled."""
        return 2 ** min(layer, DOWNSAMPLED) if self.downsampling == "none" else 1

    def last_side(self, pixels: int) -> int:
        """Return the pixels a side of the last maps, of images of so many pixels; ValueError: they are too few."""
        side = pixels
        for layer in range(self.layers):
            before = f"{side} of {pixels} pixels a side are left before convolution {layer + 1}"
            dilation = self.dilation(layer)
            if self.padding == "circular" and side < dilation:
                raise ValueError(f"{before}, too few for circular padding of {dilation}: choose larger images")
            side -= 2 * dilation if self.padding == "valid" else 0
            if side < 1:
                raise ValueError(f"{before}, and valid padding leaves none: choose another padding or larger images")
            if layer < DOWNSAMPLED and self.downsampling != "none":
                if side < SMALLEST[self.downsampling]:
                    raise ValueError(f"{before}, too few for downsampling by {self.downsampling}: choose larger images")
                if self.downsampling == "polyphase max" and side % 2:
                    raise ValueError(f"{before} and {side} after it, but polyphase sampling needs an even number")
                rounded_up = self.downsampling == "stride" or (self.downsampling, self.padding) == WRAPPED
                side = (side + 1) // 2 if rounded_up else side // 2
        return side


class NarrowResNet(Components):
    """Components of the architecture `narrow_resnet`."""

    stem: Literal["stock", "small"] = "stock"  # 7x7 with stride 2 and a pooling; or 3x3, and neither


COMPONENTS: dict[str, type[Components]] = {"small": Small, "narrow_resnet": NarrowResNet}


def validate(architecture: str, choices: Mapping[str, object]) -> Components | None:
    """Return the components of an architecture, those that are not named as their defaults; None where it has none.

    ValueError (`pydantic.ValidationError` is a subclass): it does not know a component or a choice.
    """
    if architecture in COMPONENTS:
        return COMPONENTS[architecture].model_validate(choices)
    if choices:
        raise ValueError(f"{architecture} has no components to choose, but {', '.join(choices)} is given: leave it out")
    return None
