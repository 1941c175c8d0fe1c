"""A network whose answer no circular shift changes, put together from what the study found to matter."""

from shiftlab.networks.assembly import assemble
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.components import DOWNSAMPLED, Downsampling, Small

CHANNELS = (32, 64)  # of the first convolution, and of the others
LAYERS = 4


def build(shape: tuple[int, int, int], classes: int) -> Classifier:
    """Circular padding, the phase of a downsampling chosen by its norm (Chaman and Dokmanic 2021), a global maximum.

    Sides that can't be halved often enough keep their pixels, under dilated convolutions that see as far: exact, too.
    UserError: the images are too small.
    """
    halved = all(side % 2**DOWNSAMPLED == 0 for side in shape[1:])
    downsampling: Downsampling = "polyphase max" if halved else "none"
    components = Small(downsampling=downsampling, padding="circular", head="max", layers=LAYERS)
    return Classifier(assemble(components, CHANNELS, shape, classes), mean=0.1307, std=0.3081)
