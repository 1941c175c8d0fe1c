"""The same network in fewer steps, for evaluation: batch normalisation folded away, poolings that take fewer passes.

Only the order of sums differs; `fuse` makes sure of that on a batch of noise and else leaves the network as it is.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from shiftlab.networks.fast.padding import ChannelsLastPad2d
from shiftlab.networks.fast.small_maps import is_plain_convolution

ELEMENTWISE = (nn.Sigmoid, nn.ReLU, nn.Tanh, nn.GELU)
Model = TypeVar("Model", bound=nn.Module)
VECTOR = 8  # numbers in a register: channels that are no multiple of it leave some of one empty
CLOSE = 1e-4  # of the largest logit; a folded network is within 1e-5
PROBES = 4  # images


def fuse(model: Model, shape: tuple[int, int, int]) -> Model:
    """Return a copy of `model`, in evaluation mode, that gives the same logits sooner and records no gradients.

    Its images have that shape: channels, height, width.
    """
    faster = copy.deepcopy(model)
    for parent in list(faster.modules()):
        _fold_normalisation(parent)
        if isinstance(parent, nn.Sequential):
            _replace_pooling(parent)
    faster.requires_grad_(False)
    # Random pixels from a generator of its own, so that the caller's stays as it is.
    noise = torch.randint(0, 256, (PROBES, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = noise.to(next(model.parameters()).device)
    with torch.inference_mode():
        expected, logits = model(images), faster(images)
    same = bool((logits - expected).abs().max() <= CLOSE * expected.abs().max())
    return faster if same else model


class PhasedConv2d(nn.Module):
    """A convolution, an elementwise function and a 2x2 average, in one pass over the image.

    The four pixels that an average takes come from four copies of the kernel, each a pixel further, in a convolution of
    stride 2: where a layer has few channels these fill the processor's registers, and the average adds whole maps.
    """

    def __init__(self, convolution: nn.Conv2d, function: nn.Module) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        phases = [pad(weight, (right, 1 - right, down, 1 - down)) for down in (0, 1) for right in (0, 1)]
        self.weight = nn.Parameter(torch.cat(phases).contiguous())
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat(4))
        self.padding, self.function = convolution.padding, function

    def forward(self, images: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to `(N, D, H' // 2, W' // 2)`, of a convolution that gives `(N, D, H', W')`."""
        assert not isinstance(self.padding, str)
        maps: Tensor = self.function(conv2d(images, self.weight, self.bias, stride=2, padding=self.padding))
        first, second, third, fourth = maps.chunk(4, dim=1)
        return (first + second + third + fourth) * 0.25


class CircularMaxPool2d(nn.Module):
    """The largest of each pixel and those at its right, below, and below at the right; at an edge, of the other side.

    As a circular padding and a maximum of 2x2 pixels with stride 1, without the extended copy and without the places
    of the largest, which only a gradient needs.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to the same."""
        for dim in (3, 2):
            pooled, last = torch.empty_like(maps), maps.shape[dim] - 1
            torch.maximum(maps.narrow(dim, 0, last), maps.narrow(dim, 1, last), out=pooled.narrow(dim, 0, last))
            torch.maximum(maps.narrow(dim, last, 1), maps.narrow(dim, 0, 1), out=pooled.narrow(dim, last, 1))
            maps = pooled
        return maps


def _fold_normalisation(parent: nn.Module) -> None:
    """Fold batch normalisation with its running statistics into the convolution that was made right before it."""
    for (name, layer), (following, norm) in pairwise(list(parent.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            setattr(parent, name, fuse_conv_bn_eval(layer, norm).to(memory_format=torch.channels_last))
            setattr(parent, following, nn.Identity())


def _replace_pooling(sequence: nn.Sequential) -> None:
    layers = list(sequence.children())
    for at, (first, second, third) in enumerate(zip(layers, layers[1:], [*layers[2:], nn.Identity()], strict=False)):
        narrow = is_plain_convolution(first) and first.stride == (1, 1) and first.out_channels % VECTOR > 0
        if narrow and isinstance(second, ELEMENTWISE) and _is_same(third, nn.AvgPool2d(2)):
            assert isinstance(first, nn.Conv2d)
            sequence[at] = PhasedConv2d(first, second)
            sequence[at + 1] = sequence[at + 2] = nn.Identity()
        circular = isinstance(first, ChannelsLastPad2d) and (first.padding, first.inset) == ((0, 1, 0, 1), 0)
        if circular and _is_same(second, nn.MaxPool2d(2, 1)):
            sequence[at], sequence[at + 1] = CircularMaxPool2d(), nn.Identity()


def _is_same(layer: nn.Module, pooling: nn.Module) -> bool:
    return type(layer) is type(pooling) and vars(layer) == vars(pooling.eval())
