"""Convolutions of maps that are smaller than their kernels, as matrix products without the padding."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Output channels of the narrowest convolution that is replaced: those of ResNet-18's last two stages. Narrower ones
# would gain less (docs/fast.md).
CHANNELS = 256


class SmallMapConv2d(nn.Conv2d):
    """The same convolution, as one matrix product where every position of the kernel covers the whole map.

    On so small a map most of a kernel meets padding: of a 3x3 kernel on 2x2 pixels five ninths, on a single pixel
    all but the centre. The matrix holds what meets data and no more. What is left out would add zeros to the output
    and to the gradient, so this is the same function. For zero padding, one group and no dilation.

    On an accelerator it is PyTorch's own: what padding costs there is less than the steps that avoid it.
    """

    trained: Tensor | None = None  # a view of `weight` that training changes in its stead: `weights_that_meet_data`

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Conv2d: float `(N, C, H, W)` to `(N, D, H', W')`."""
        weight, tops, lefts = self._meeting_data(input)
        if tops is None or lefts is None:
            return super().forward(input)
        trained = self.trained if self.training else None
        # It is another view where the model was moved, or has maps of another size.
        if trained is not None and (trained.data_ptr(), trained.shape) == (weight.data_ptr(), weight.shape):
            weight = trained
        output: Tensor = _CoveringProduct.apply(input, weight, tops, lefts)
        return output if self.bias is None else output + self.bias[:, None, None]

    def train_on(self, input: Tensor) -> None:
        """Set `trained` to what of the weight meets data on maps of that size; None where that is the whole kernel."""
        view = self._meeting_data(input)[0].detach()
        self.trained = None if view.shape == self.weight.shape else view.requires_grad_()

    def _meeting_data(self, input: Tensor) -> tuple[Tensor, list[int] | None, list[int] | None]:
        """Return what of the weight meets data, and where the map's first row and column are in it at each position.

        The whole weight and None where some position does not cover the map, or on an accelerator.
        """
        (height, width), padding = input.shape[-2:], cast("tuple[int, int]", self.padding)
        tops, lefts = map(covering, (height, width), self.kernel_size, self.stride, padding)
        if tops is None or lefts is None or not input.is_cpu:
            return self.weight, None, None
        top, left = min(tops), min(lefts)
        weight = self.weight[:, :, top : max(tops) + height, left : max(lefts) + width]
        return weight, [tap - top for tap in tops], [tap - left for tap in lefts]


def replace_convolutions(network: nn.Module) -> None:
    """Make the wide convolutions of a network `SmallMapConv2d`, with the same weights under the same names."""
    for module in network.modules():
        if is_plain_convolution(module) and module.out_channels >= CHANNELS:
            module.__class__ = SmallMapConv2d  # a new layer would draw first weights from the global generator


def weights_that_meet_data(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return what of a model's weights meets data when it learns from images of that size, for an optimiser to change.

    They are `model.parameters()`, but of the weight of a `SmallMapConv2d` a view `(D, C, h, w)`, which takes the
    gradient from now on. That of the others would be zero, for which Adam takes no step: they are six tenths of
    ResNet-18's weights where images have 28x28 pixels. The images, a single one will do, have the dtype that the model
    takes. The model is in evaluation mode afterwards.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SmallMapConv2d)]
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: layer.train_on(*inputs)) for layer in layers]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    views = {layer.weight: layer.trained for layer in layers if layer.trained is not None}
    return [views.get(weight, weight) for weight in model.parameters()]


def covering(size: int, kernel: int, stride: int, padding: int) -> list[int] | None:
    """Return which of a kernel's taps meets the first of `size` pixels at each position; None if one covers not all."""
    taps = [padding - stride * position for position in range((size + 2 * padding - kernel) // stride + 1)]
    return taps if all(0 <= tap <= kernel - size for tap in taps) else None


def is_plain_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether it is a convolution of one group without dilation, padded by numbers of zeros."""
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str):
        return False
    return (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")


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
        windows = [kernel[:, top : top + height, left : left + width] for top in tops for left in lefts]
        matrix = torch.cat(windows).flatten(1)  # a copy, since products of part of a kernel would be slower
        ctx.save_for_backward(maps, matrix)
        ctx.positions, ctx.shapes = (tops, lefts), (input.shape, weight.shape)
        return (maps @ matrix.T).reshape(count, len(tops), len(lefts), -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        maps, matrix = ctx.saved_tensors
        (tops, lefts), ((count, channels, height, width), shape) = ctx.positions, ctx.shapes
        outer = gradient.permute(0, 2, 3, 1).flatten(1)
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = (outer @ matrix).reshape(count, height, width, channels).permute(0, 3, 1, 2)
        of_windows = (outer.T @ maps).reshape(len(tops), len(lefts), shape[0], height, width, channels)
        of_kernel = outer.new_zeros(shape[0], *shape[2:], channels)
        for row, top in enumerate(tops):
            for column, left in enumerate(lefts):
                window = of_kernel[:, top : top + height, left : left + width]
                window.add_(of_windows[row, column])  # += would copy, too
        return of_input, of_kernel.permute(0, 3, 1, 2), None, None
