"""ResNet-18 (He et al. 2016), torchvision's, with as many input channels and classes as the data has."""

from torch import nn
from torchvision.models import resnet18

from shiftlab.networks.classifier import Classifier


def build(shape: tuple[int, int, int], classes: int) -> Classifier:
    """Untrained. At 28x28 its last stage sees 1x1 maps, so its global average pool has nothing to average."""
    network = resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
    return Classifier(network, mean=0.1307, std=0.3081)
