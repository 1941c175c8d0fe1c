"""ResNet-18 with an eighth of its channels, and a stem to choose: is it the early strides that cost it invariance?"""

from itertools import pairwise

from torch import nn
from torchvision.models.resnet import BasicBlock

from shiftlab.networks.classifier import Classifier
from shiftlab.networks.components import NarrowResNet

CHANNELS = (8, 8, 16, 32, 64)  # of the stem and of the four stages; ResNet-18 has 64, 64, 128, 256, 512
BLOCKS = 2  # a stage


def build(shape: tuple[int, int, int], classes: int, components: NarrowResNet | None = None) -> Classifier:
    """Torchvision's blocks in the order of ResNet-18 (He et al. 2016), with the stock stem or one for small images."""
    stem = _stem(shape[0], (components or NarrowResNet()).stem)
    stages = [_stage(*channels, stride=1 if number == 0 else 2) for number, channels in enumerate(pairwise(CHANNELS))]
    network = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # as torchvision draws ResNet-18's first weights
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Classifier(network, mean=0.1307, std=0.3081)


def _stem(inputs: int, kind: str) -> list[nn.Module]:
    normalised = [nn.BatchNorm2d(CHANNELS[0]), nn.ReLU()]
    if kind == "small":
        return [nn.Conv2d(inputs, CHANNELS[0], kernel_size=3, padding=1, bias=False), *normalised]
    convolution = nn.Conv2d(inputs, CHANNELS[0], kernel_size=7, stride=2, padding=3, bias=False)
    return [convolution, *normalised, nn.MaxPool2d(3, stride=2, padding=1)]


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    projected = None
    if stride > 1:
        projected = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    first = BasicBlock(inputs, outputs, stride, projected)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(BLOCKS - 1)))
