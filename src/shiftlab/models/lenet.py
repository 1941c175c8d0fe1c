"""LeNet-5 (LeCun et al. 1998), as the notebook has it: sigmoids, average pooling, flattened into dense layers."""

from torch import nn

from shiftlab.classifier import Classifier


def build(size: int) -> Classifier:
    """Two convolutions with pooling, 28 -> 14 -> 5 pixels a side where `size` is 28, then 400-120-84-10."""
    pooled = (size // 2 - 4) // 2
    network = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * pooled * pooled, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, 10),
    )
    return Classifier(network, mean=0.1307, std=0.3081)
