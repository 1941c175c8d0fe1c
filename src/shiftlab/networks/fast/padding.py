"""Circular and mirrored padding that keeps the layout channels last."""

import torch
from torch import Tensor, nn


class ChannelsLastPad2d(nn.Module):
    """The same padding as nn.CircularPad2d or nn.ReflectionPad2d, which do not keep the layout channels last."""

    def __init__(self, padding: tuple[int, int, int, int], inset: int) -> None:
        super().__init__()
        self.padding = padding  # pixels at the left, the right, the top and the bottom
        self.inset = inset  # 0: circular; 1: mirrored, of at most a pixel

    def forward(self, maps: Tensor) -> Tensor:
        """Float `(N, C, H, W)` to `(N, C, top + H + bottom, left + W + right)`."""
        left, right, top, bottom = self.padding
        for dim, before, after in ((2, top, bottom), (3, left, right)):
            size = maps.shape[dim]
            start, end = (1, size - 2) if self.inset else (size - before, 0)
            # An empty part has no layout, so it is left out.
            parts = [maps.narrow(dim, start, before)] if before else []
            parts += [maps, maps.narrow(dim, end, after)] if after else [maps]
            maps = torch.cat(parts, dim)
        return maps


def replace_padding(network: nn.Module) -> None:
    """Put `ChannelsLastPad2d` in place of PyTorch's circular paddings, and of mirrored ones of at most a pixel."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.CircularPad2d:
                setattr(parent, name, ChannelsLastPad2d(layer.padding, inset=0))
            elif type(layer) is nn.ReflectionPad2d and max(layer.padding) <= 1:
                setattr(parent, name, ChannelsLastPad2d(layer.padding, inset=1))
