"""How long an epoch takes with batches of each size, with nothing else of a search beside it."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab import determinism
from shiftlab.config.params import Params

if TYPE_CHECKING:
    from shiftlab.data.dataset import Dataset, Examples
    from shiftlab.training.loop import State

ROUNDS = 7  # epochs of each
SHARE = 0.1  # of the images, at least a batch of them


def epochs(model: str, sizes: Sequence[int], params: Params, data: bytes) -> list[float]:
    """Measure the seconds of an epoch with batches of each size, by the shortest of a few on some of the images.

    They are timed in turn: what disturbs the machine disturbs all sizes, and can only make an epoch longer. What else a
    recipe is made of, the learning rate, its schedule and the first weights, takes no time. It is meant to be called on
    a node.

    Args:
        model: the architecture's name.
        params: for all but the size.
        data: the bytes of a data set's file.

    Raises:
        UserError: the data or the device can't be used; a training fails, as in `loop.fit`.
    """
    determinism.prepare(params.determinism)
    from shiftlab.data import dataset  # with PyTorch

    determinism.use(params.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dataset.safetensors")
        path.write_bytes(data)
        whole = dataset.load(path)
    parts = [_part(whole, size) for size in sizes]
    running = [_training(model, size, params, part) for size, part in zip(sizes, parts, strict=True)]
    shortest = [math.inf for _ in sizes]
    for _ in range(ROUNDS):
        for at, training in enumerate(running):
            begin = time.perf_counter()
            next(training)
            shortest[at] = min(shortest[at], time.perf_counter() - begin)
    return [seconds * len(whole.train) / len(part.train) for part, seconds in zip(parts, shortest, strict=True)]


def _part(data: Dataset, size: int) -> Dataset:
    """Return whole batches, and validation images in proportion."""
    whole = len(data.train)
    count = min(whole, max(size, int(SHARE * whole) // size * size))
    validation_count = max(1, len(data.validation) * count // whole)
    return replace(data, train=_first(data.train, count), validation=_first(data.validation, validation_count))


def _first(examples: Examples, count: int) -> Examples:
    return replace(examples, images=examples.images[:count], labels=examples.labels[:count])


def _training(model: str, size: int, params: Params, data: Dataset) -> Iterator[State]:
    import torch
    import torch._dynamo  # which would else be imported at the expense of the first epoch

    from shiftlab.models import architectures
    from shiftlab.training import loop

    settings = params.models[model].model_copy(update={"batch_size": size, "epochs": ROUNDS})
    torch.manual_seed(0)
    network = architectures.build(model, data.shape, len(data.classes), settings.components)
    return loop.fit(
        network,
        data,
        settings.recipe or params.recipe,
        settings,
        determinism.pick_device(params.device),
        augmentation=settings.augmentation or params.augmentation,
    )
