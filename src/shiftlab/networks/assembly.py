"""A convolutional network, put together from components."""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from shiftlab.errors import UserError
from shiftlab.networks.components import DOWNSAMPLED, Small
from shiftlab.networks.layers import BlurPool2d, PolyphasePool2d

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
HEADS: dict[str, Callable[[], nn.Module]] = {
    "flatten": nn.Identity,
    "average": lambda: nn.AdaptiveAvgPool2d(1),
    "max": lambda: nn.AdaptiveMaxPool2d(1),
}


def assemble(components: Small, channels: tuple[int, int], shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return 3x3 convolutions with batch normalisation, the first two downsampled, and one dense layer.

    Channels are those of the first convolution, and of each of the others; the shape is that of the images: channels,
    height, width. UserError: they are too small for the components.
    """
    try:
        height, width = map(components.last_side, shape[1:])
    except ValueError as error:
        raise UserError(f"such a network can't be built: {error}") from None
    first, inner = channels
    layers: list[nn.Module] = []
    for layer, (inputs, outputs) in enumerate(pairwise([shape[0], first, *[inner] * (components.layers - 1)])):
        dilation = components.dilation(layer)
        stride = 2 if layer < DOWNSAMPLED and components.downsampling == "stride" else 1
        padding = dilation if components.padding == "zero" else 0
        if components.padding == "circular":
            layers.append(nn.CircularPad2d(dilation))
        layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding, dilation, bias=False))
        layers += [nn.BatchNorm2d(outputs), ACTIVATIONS[components.activation]()]
        if layer < DOWNSAMPLED:
            layers += _downsampling(components, outputs)
    pixels = height * width if components.head == "flatten" else 1
    return nn.Sequential(*layers, HEADS[components.head](), nn.Flatten(), nn.Linear(inner * pixels, classes))


def _downsampling(components: Small, channels: int) -> list[nn.Module]:
    """Return the layers that halve the maps, after the activation."""
    circular = components.padding == "circular"
    match components.downsampling:
        case "none" | "stride":
            return []
        case "average":
            return [nn.AvgPool2d(2)]
        case "max":
            return [nn.MaxPool2d(2)]
        case "larger max":
            return [nn.CircularPad2d(1), nn.MaxPool2d(4, 2)] if circular else [nn.MaxPool2d(4, 2, padding=1)]
        case "blurred max":
            if circular:
                return [nn.CircularPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1), BlurPool2d(channels, "circular")]
            return [nn.MaxPool2d(2, 1), BlurPool2d(channels)]
        case "polyphase max":
            # A pixel at the right and at the bottom, so that as many positions are left as there were.
            padded = nn.CircularPad2d((0, 1, 0, 1)) if circular else nn.ConstantPad2d((0, 1, 0, 1), float("-inf"))
            return [padded, nn.MaxPool2d(2, 1), PolyphasePool2d()]
