"""A small convolutional network whose components can be chosen, to ask each what it does for invariance."""

from shiftlab.networks.assembly import assemble
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.components import Small

CHANNELS = (16, 32)  # of the first convolution, and of the others


def build(shape: tuple[int, int, int], classes: int, components: Small | None = None) -> Classifier:
    """Three convolutions, max pooling and a flattened head, where nothing else is chosen.

    Raises:
        UserError: the images are too small for the components.
    """
    return Classifier(assemble(components or Small(), CHANNELS, shape, classes), mean=0.1307, std=0.3081)
