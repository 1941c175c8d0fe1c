"""LeNet-5 (LeCun et al. 1998), as the notebook has it: sigmoids, average pooling, flattened into dense layers."""

from torch import nn

from shiftlab.errors import UserError
from shiftlab.networks.classifier import Classifier

SMALLEST = 12  # pixels a side, of which the second pooling leaves one


def build(shape: tuple[int, int, int], classes: int) -> Classifier:
    """Two convolutions with pooling, 28 -> 14 -> 5 pixels a side of 28x28, then 400-120-84 and the classes.

    UserError: the images are too small for two poolings.
    """
    channels, height, width = shape
    if min(height, width) < SMALLEST:
        raise UserError(f"lenet needs images of {SMALLEST} pixels a side at least, not {width}x{height}: choose others")
    pooled = ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    network = nn.Sequential(
        nn.Conv2d(channels, 6, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * pooled, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, classes),
    )
    return Classifier(network, mean=0.1307, std=0.3081)
