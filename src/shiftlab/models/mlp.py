"""Two hidden layers. It knows nothing of space: every pixel has weights of its own."""

from torch import nn

from shiftlab.classifier import Classifier


def build(size: int) -> Classifier:
    """784-512-256-10 with ReLU, where `size` is 28."""
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(size * size, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )
    return Classifier(network, mean=0.5, std=0.5)
