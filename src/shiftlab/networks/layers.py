"""Layers that PyTorch lacks: poolings that care for what a shift changes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

PADDINGS = {"reflect": nn.ReflectionPad2d, "circular": nn.CircularPad2d}


class BlurPool2d(nn.Module):
    """Every second pixel of a blurred map (Zhang 2019): less is lost of what a subsampling leaves out.

    The kernel is the binomial one of 3x3, of each channel for itself. Beyond the edge the map is mirrored, as the
    paper's code has it, or goes on at the other side.
    """

    kernel: Tensor

    def __init__(self, channels: int, mode: Literal["reflect", "circular"] = "reflect") -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(taps, taps).expand(channels, 1, 3, 3).clone(), persistent=False)
        self.pad = PADDINGS[mode](1)

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
