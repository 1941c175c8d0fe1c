"""What makes networks fast: the same functions and gradients in fewer steps. docs/fast.md says what each is worth.

`prepare` is applied to every network that becomes a `Classifier`, `make_adam` makes the optimiser of a training, and
`fuse` a network for predictions. State dicts keep their names and shapes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from shiftlab.networks.fast.adam import MemoryOrderAdam
from shiftlab.networks.fast.fusion import fuse as fuse
from shiftlab.networks.fast.padding import replace_padding
from shiftlab.networks.fast.small_maps import replace_convolutions, weights_that_meet_data


def prepare(network: nn.Module) -> nn.Module:
    """Change the network in place so that it computes the same function sooner, and return it.

    Its weights lie channels last in memory. Convolutions that may see maps smaller than their kernels become
    `SmallMapConv2d`, circular and mirrored paddings `ChannelsLastPad2d`.
    """
    replace_convolutions(network)
    replace_padding(network)
    return network.to(memory_format=torch.channels_last)


def make_adam(model: nn.Module, images: Tensor, **settings: Any) -> MemoryOrderAdam:
    """Return Adam, with its settings `lr`, `betas`, `eps`, for the model's `weights_that_meet_data` of such images."""
    return MemoryOrderAdam(weights_that_meet_data(model, images), **settings)
