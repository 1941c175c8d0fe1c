"""ResNet-18 (He et al. 2016), torchvision's, with one input channel and ten classes."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torchvision.models import resnet18

from shiftlab.classifier import Classifier


def build(size: int) -> Classifier:  # noqa: ARG001  # any size fits
    """Untrained. At 28x28 its last stage sees 1x1 maps, so its global average pool has nothing to average."""
    network = resnet18(weights=None, num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    for stage in (network.layer3, network.layer4):
        for module in stage.modules():
            if type(module) is nn.Conv2d:
                module.__class__ = SmallMapConv2d  # the same weights under the same names
    return Classifier(network, mean=0.1307, std=0.3081)


class SmallMapConv2d(nn.Conv2d):
    """The same convolution, as one matrix product where every position of the kernel covers the whole map.

    On so small a map most of a kernel meets padding: of a 3x3 kernel on 2x2 pixels five ninths, on a single pixel
    all but the centre. The matrix holds what meets data and no more. What is left out would add zeros to the output
    and to the gradient, so this is the same function. For zero padding, one group and no dilation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Conv2d: float `(N, C, H, W)` to `(N, D, H', W')`."""
        padding = cast("tuple[int, int]", self.padding)  # torchvision's ResNet pads by numbers
        height, width = input.shape[-2:]
        tops = covering(height, self.kernel_size[0], self.stride[0], padding[0])
        lefts = covering(width, self.kernel_size[1], self.stride[1], padding[1])
        if tops is None or lefts is None:
            return super().forward(input)
        # Channels last throughout, as the weights lie in memory.
        seen = [self.weight[..., top : top + height, left : left + width] for top in tops for left in lefts]
        matrix = torch.cat([weight.permute(0, 2, 3, 1).flatten(1) for weight in seen])
        bias = None if self.bias is None else self.bias.repeat(len(seen))
        output = linear(input.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return output.reshape(len(input), len(tops), len(lefts), -1).permute(0, 3, 1, 2)


def covering(size: int, kernel: int, stride: int, padding: int) -> list[int] | None:
    """For each position of a kernel along `size` pixels, which of its taps meets the first pixel.

    None where some position does not cover all pixels.
    """
    firsts = [padding - stride * position for position in range((size + 2 * padding - kernel) // stride + 1)]
    return firsts if all(0 <= first <= kernel - size for first in firsts) else None
