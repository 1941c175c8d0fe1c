"""What a model costs: weights, products, time."""

import timeit
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

TIMED_RUNS = 5


def count(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """Count the parameters of a model, and the products that it adds up for one raw image `(C, H, W)`.

    Counted are the products that are computed here, without those that `SmallMapConv2d` leaves out.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image.unsqueeze(0))
    return sum(weights.numel() for weights in model.parameters()), counter.get_total_flops() // 2


def latency(model: nn.Module, images: Tensor) -> float:
    """Return the milliseconds until the logits of raw images `(N, C, H, W)` are known, the median of a few runs."""
    with torch.inference_mode():
        # An accelerator is done when its answer is here.
        runs = timeit.repeat(lambda: model(images).cpu(), number=1, repeat=TIMED_RUNS)
    return 1000 * median(runs)
