"""Layers that are more than PyTorch's, and the same networks computed in fewer steps."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d


class SmallMapConv2d(nn.Conv2d):
    """The same convolution, as one matrix product where every position of the kernel covers the whole map.

    On so small a map most of a kernel meets padding: of a 3x3 kernel on 2x2 pixels five ninths, on a single pixel
    all but the centre. The matrix holds what meets data and no more. What is left out would add zeros to the output
    and to the gradient, so this is the same function. For zero padding, one group and no dilation.

    On an accelerator it is PyTorch's own: what padding costs there is less than the steps that avoid it.
    """

    reached: Tensor | None = None  # a view of `weight`, which training changes in its stead: see `reached_weights`

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Conv2d: float `(N, C, H, W)` to `(N, D, H', W')`."""
        firsts = self._firsts(input)
        if firsts is None:
            return super().forward(input)
        weight = self._meeting(input, *firsts)
        if self.training and self.reached is not None and _same(self.reached, weight):
            weight = self.reached
        tops, lefts = ([first - min(along) for first in along] for along in firsts)
        output: Tensor = _CoveringProduct.apply(input, weight, tops, lefts)
        return output if self.bias is None else output + self.bias[:, None, None]

    def reach(self, input: Tensor) -> None:
        """Set `reached` to what meets data on maps of that size, None where it is the whole kernel."""
        firsts = self._firsts(input)
        view = self.weight.detach() if firsts is None else self._meeting(input, *firsts).detach()
        self.reached = None if view.shape == self.weight.shape else view.requires_grad_()

    def _firsts(self, input: Tensor) -> tuple[list[int], list[int]] | None:
        if not input.is_cpu:
            return None
        padding = cast("tuple[int, int]", self.padding)  # torchvision's ResNet pads by numbers
        tops, lefts = map(covering, input.shape[-2:], self.kernel_size, self.stride, padding)
        return None if tops is None or lefts is None else (tops, lefts)

    def _meeting(self, input: Tensor, tops: list[int], lefts: list[int]) -> Tensor:
        height, width = input.shape[-2:]
        return self.weight[:, :, min(tops) : max(tops) + height, min(lefts) : max(lefts) + width]


def reached_weights(model: nn.Module, images: Tensor) -> list[Tensor]:
    """What of a model's weights meets data when it learns from images of that size, for an optimiser to change.

    In the order of `model.parameters()`, which they are but for a `SmallMapConv2d`: of its weight it is a view
    `(D, C, h, w)`, which takes the gradient from now on. That of the others would be zero, for which Adam takes no
    step: they are six tenths of ResNet-18's weights where images have 28x28 pixels. The model is in evaluation mode
    afterwards.

    Args:
        images: `(N, C, H, W)`, one at least, in the dtype that the model takes.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SmallMapConv2d)]
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: layer.reach(*inputs)) for layer in layers]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    views = {layer.weight: layer.reached for layer in layers if layer.reached is not None}
    return [views.get(weight, weight) for weight in model.parameters()]


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether they are the same place in memory: a model that was moved, and maps of another size, have others."""
    return first.data_ptr() == second.data_ptr() and first.shape == second.shape


def covering(size: int, kernel: int, stride: int, padding: int) -> list[int] | None:
    """For each position of a kernel along `size` pixels, which of its taps meets the first pixel.

    None where some position does not cover all pixels.
    """
    firsts = [padding - stride * position for position in range((size + 2 * padding - kernel) // stride + 1)]
    return firsts if all(0 <= first <= kernel - size for first in firsts) else None


class _CoveringProduct(torch.autograd.Function):
    """The product of a whole map with what of a kernel meets it at each position.

    PyTorch's own gradient would make and add up a kernel full of zeros for each position, and copy the sum into the
    weights' layout: a quarter of a training step of ResNet-18.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, tops: list[int], lefts: list[int]) -> Tensor:
        count, _, height, width = input.shape
        maps = input.permute(0, 2, 3, 1).flatten(1)  # channels last throughout, as the weights lie in memory
        kernel = weight.permute(0, 2, 3, 1)
        seen = [kernel[:, top : top + height, left : left + width] for top in tops for left in lefts]
        matrix = (seen[0] if len(seen) == 1 else torch.stack(seen).flatten(0, 1)).flatten(1)
        ctx.save_for_backward(maps, matrix)
        ctx.places, ctx.shapes = (tops, lefts), (input.shape, weight.shape)
        return (maps @ matrix.T).reshape(count, len(tops), len(lefts), -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        maps, matrix = ctx.saved_tensors
        (tops, lefts), ((count, channels, height, width), shape) = ctx.places, ctx.shapes
        outer = gradient.permute(0, 2, 3, 1).flatten(1)
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = (outer @ matrix).reshape(count, height, width, channels).permute(0, 3, 1, 2)
        of_places = (outer.T @ maps).reshape(len(tops), len(lefts), shape[0], height, width, channels)
        of_kernel = outer.new_zeros(shape[0], *shape[2:], channels)
        for row, top in enumerate(tops):
            for column, left in enumerate(lefts):
                of_kernel[:, top : top + height, left : left + width].add_(of_places[row, column])  # += would copy, too
        return of_input, of_kernel.permute(0, 3, 1, 2), None, None


class ExtendedPad2d(nn.Module):
    """Maps that go on beyond their edges: at the other side, or mirrored.

    As torch.nn.functional.pad, which does not keep the layout channels last: what comes after this is several times as
    fast.

    Args:
        before: pixels at the left and at the top.
        after: pixels at the right and at the bottom.
        mode: "circular"; or "reflect", of one pixel at most.
    """

    def __init__(self, before: int, after: int, mode: str) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.inset = {"circular": 0, "reflect": 1}[mode]

    def forward(self, maps: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to `(N, C, H + before + after, W + before + after)`."""
        for dim in (2, 3):
            size = maps.shape[dim]
            first, last = self.inset, size - self.after - self.inset
            if self.inset == 0:
                first, last = size - self.before, 0
            ends = [maps.narrow(dim, first, self.before)] if self.before else []  # an empty one has no layout
            maps = torch.cat([*ends, maps, maps.narrow(dim, last, self.after)], dim)
        return maps


class BlurPool2d(nn.Module):
    """Every second pixel of a blurred map (Zhang 2019): less is lost of what a subsampling leaves out.

    The kernel is the binomial one of 3x3, of each channel for itself. Beyond the edge the map is mirrored, as the
    paper's code has it, or goes on at the other side.

    Args:
        mode: "reflect" or "circular", of `ExtendedPad2d`.
    """

    kernel: Tensor

    def __init__(self, channels: int, mode: str = "reflect") -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(taps, taps).expand(channels, 1, 3, 3).clone(), persistent=False)
        self.pad = ExtendedPad2d(1, 1, mode)

    def forward(self, maps: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to `(N, C, ceil(H / 2), ceil(W / 2))`."""
        return conv2d(self.pad(maps), self.kernel, stride=2, groups=maps.shape[1])


class PolyphasePool2d(nn.Module):
    """Of the four ways to take every second pixel, that with the largest norm (Chaman and Dokmanic 2021).

    Each image has its own. A circular shift of the map changes which way that is and nothing else, so that what is
    taken is the same but for a circular shift: exact where a fixed way is not. Sides must be even.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to `(N, C, H / 2, W / 2)`."""
        # A pixel's channels are added up in one order wherever it lies, and pixels in double precision, so that the
        # order of a sum, which a shift changes, does not decide between two phases.
        energy = maps.detach().square().sum(1).double()
        phases = [energy[:, down::2, right::2].sum((1, 2)) for down in (0, 1) for right in (0, 1)]
        largest = torch.stack(phases).argmax(0).view(-1, 1, 1, 1)
        rows = torch.where(largest >= 2, maps[:, :, 1::2], maps[:, :, ::2])
        return torch.where(largest % 2 == 1, rows[..., 1::2], rows[..., ::2])
