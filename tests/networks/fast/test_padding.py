"""Padding that keeps the layout channels last, against PyTorch's own."""

import pytest
import torch
from torch import nn

from shiftlab.networks.fast.padding import ChannelsLastPad2d, replace_padding


@pytest.mark.parametrize(
    "layer",
    [
        nn.CircularPad2d(1),
        nn.CircularPad2d(4),
        nn.CircularPad2d((0, 1, 0, 1)),
        nn.CircularPad2d((2, 0, 1, 3)),
        nn.ReflectionPad2d(1),
        nn.ReflectionPad2d((0, 1, 1, 0)),
    ],
)
def test_padding_is_pytorchs_and_keeps_the_layout(layer: nn.Module) -> None:
    maps = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    network = nn.Sequential(layer)
    replace_padding(network)
    assert type(network[0]) is ChannelsLastPad2d
    padded = network(maps)
    assert torch.equal(padded, layer(maps))
    assert padded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layer", [nn.ReflectionPad2d(2), nn.ZeroPad2d(1), nn.ReplicationPad2d(1)])
def test_other_padding_stays_as_it_is(layer: nn.Module) -> None:
    network = nn.Sequential(layer)
    replace_padding(network)
    assert network[0] is layer
