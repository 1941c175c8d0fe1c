"""Networks as torchvision has them, which the fast ones are compared with."""

from torch import nn
from torchvision.models import resnet18


def plain_resnet() -> nn.Module:
    """torchvision's, with nothing but its first and last layer changed."""
    network: nn.Module = resnet18(weights=None, num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network
