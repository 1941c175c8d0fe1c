import time

import pytest
import torch
from torch import Tensor, nn

from shiftlab.models import architectures
from shiftlab.networks import cost
from tests.helpers import examples


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("mlp", 535_818, 784 * 512 + 512 * 256 + 256 * 10),
        ("lenet", 61_706, 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10),
    ],
)
def test_weights_and_products_are_counted(name: str, parameters: int, multiply_adds: int) -> None:
    assert cost.count(architectures.build(name, (1, 28, 28), 10).eval(), examples(1).images[0]) == (
        parameters,
        multiply_adds,
    )


class Sleeping(nn.Module):
    """Takes a millisecond for each image."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(len(images) / 1000)
        return torch.zeros(len(images), 10)


def test_latency_is_that_of_all_images_together_in_milliseconds() -> None:
    assert cost.latency(Sleeping(), examples(20).images) >= 20  # however slow the machine is
