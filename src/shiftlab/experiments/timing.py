"""How long trainings take with nothing else of a search beside them, which is what two of them are compared by."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab import processor
from shiftlab.params import Params, Training

if TYPE_CHECKING:
    from shiftlab.data.dataset import Dataset
    from shiftlab.learn.training import State

ROUNDS = 5  # epochs of each


def in_turn(model: str, trainings: Sequence[Training], params: Params, data: bytes) -> list[float]:
    """Seconds that each training takes: its epochs times the shortest of a few, an epoch of each in turn.

    What disturbs the machine so disturbs all of them, and can only make an epoch longer. It is meant to be called on a
    node.

    Args:
        model: the architecture's name.
        params: for all but what `trainings` say.
        data: the bytes of a data set's file.

    Raises:
        UserError: the data or the device can't be used; a training fails, as in `training.fit`.
    """
    processor.prepare()
    from shiftlab.data import dataset  # with PyTorch

    processor.use(params.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dataset.safetensors")
        path.write_bytes(data)
        known = dataset.load(path)
        running = [_epochs(model, training, params, known) for training in trainings]
        taken: list[list[float]] = [[] for _ in trainings]
        for _ in range(ROUNDS):
            for epochs, own in zip(running, taken, strict=True):
                begun = time.perf_counter()
                next(epochs)
                own.append(time.perf_counter() - begun)
    return [training.epochs * min(own) for training, own in zip(trainings, taken, strict=True)]


def _epochs(model: str, settings: Training, params: Params, data: Dataset) -> Iterator[State]:
    """One after another, of as many trainings as it takes."""
    import torch
    import torch._dynamo  # which would else be imported at the expense of the first epoch

    from shiftlab import device
    from shiftlab.learn import training
    from shiftlab.models import architectures

    chosen = device.pick(params.device)
    while True:
        torch.manual_seed(0)
        network = architectures.build(model, data.shape, len(data.classes), settings.components)
        yield from training.fit(
            network,
            data,
            settings.recipe or params.recipe,
            settings,
            chosen,
            augmentation=settings.augmentation or params.augmentation,
        )
