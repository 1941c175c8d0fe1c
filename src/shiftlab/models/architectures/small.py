"""A small convolutional network whose components can be chosen, to ask each what it does for invariance."""

from shiftlab.networks.assembly import assemble
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.components import Small

CHANNELS = (16, 32)  # of the first convolution, and of the others


def build(shape: tuple[int, int, int], classes: int, components: Small | None = None) -> Classifier:
    """Return the network, by default three convolutions, max pooling and a flattened head. UserError: `assemble`."""
    return Classifier(assemble(components or Small(), CHANNELS, shape, classes), mean=0.1307, std=0.3081)
