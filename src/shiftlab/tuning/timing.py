"""Time an epoch with batches of each size, with nothing else of a search beside it."""

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
PROPORTION = 0.1  # of the images, at least a batch of them


def epochs(model: str, sizes: Sequence[int], params: Params, data: bytes) -> list[float]:
    """Measure, on a node, the seconds of an epoch with batches of each size: the shortest of a few on some images.

    They are timed in turn: what disturbs the machine disturbs all sizes, and can only make an epoch longer. What else a
    recipe is made of, the learning rate, its schedule and the first weights, takes no time.

    Args:
        params: for all but the size.
        data: the bytes of a data set's file.

    Raises:
        UserError: the data or the device can't be used; a training fails, as in `loop.fit`.
    """
    determinism.prepare(params.determinism)

    from shiftlab.data import dataset

    determinism.set_threads(params.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dataset.safetensors")
        path.write_bytes(data)
        whole = dataset.load(path)
    parts = [_part(whole, size) for size in sizes]
    running = [_training(model, size, params, part) for size, part in zip(sizes, parts, strict=True)]
    shortest = [math.inf for _ in sizes]
    for _ in range(ROUNDS):
        for index, training in enumerate(running):
            begin = time.perf_counter()
            next(training)
            shortest[index] = min(shortest[index], time.perf_counter() - begin)
    return [seconds * len(whole.train) / len(part.train) for part, seconds in zip(parts, shortest, strict=True)]


def _part(data: Dataset, size: int) -> Dataset:
    """Return whole batches, and validation images in proportion."""

    def first(examples: Examples, count: int) -> Examples:
        return replace(examples, images=examples.images[:count], labels=examples.labels[:count])

    whole = len(data.train)
    count = min(whole, max(size, int(PROPORTION * whole) // size * size))
    validation_count = max(1, len(data.validation) * count // whole)
    return replace(data, train=first(data.train, count), validation=first(data.validation, validation_count))


def _training(model: str, size: int, params: Params, data: Dataset) -> Iterator[State]:
    """Return a training of ROUNDS epochs, which runs one each time that the next state is taken."""
    import torch
    import torch._dynamo  # which would else be imported at the expense of the first epoch

    from shiftlab.models import architectures
    from shiftlab.training import loop

    settings = params.models[model].model_copy(update={"batch_size": size, "epochs": ROUNDS})
    recipe, augmentation = settings.recipe or params.recipe, settings.augmentation or params.augmentation
    torch.manual_seed(0)
    network = architectures.build(model, data.shape, len(data.classes), settings.components)
    device = determinism.pick_device(params.device)
    return loop.fit(network, data, recipe, settings, device, augmentation=augmentation)
