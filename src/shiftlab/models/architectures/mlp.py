"""Two hidden layers. It knows nothing of space: every pixel has weights of its own."""

from math import prod

from torch import nn

from shiftlab.networks.classifier import Classifier


def build(shape: tuple[int, int, int], classes: int) -> Classifier:
    """784-512-256-10 with ReLU, for grey images of 28x28 and ten classes."""
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(shape), 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )
    return Classifier(network, mean=0.5, std=0.5)
