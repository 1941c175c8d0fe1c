"""Forward passes on the nodes of a Ray cluster: the same bytes as in this process.

What a node imports here is light: PyTorch comes after `determinism.prepare`.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from shiftlab import determinism
from shiftlab.config.params import Determinism, DeviceName
from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from shiftlab.shifts.inference import Executor, Progress, Task
    from shiftlab.shifts.store import Arrays


@contextmanager
def ray_executor(
    address: str,
    load: Callable[[], nn.Module],
    device: torch.device,
    threads: int,
    settings: Determinism,
    cores: int | None = None,
) -> Iterator[Executor]:
    """Connect to Ray for as long as the block lasts; yield the executor that predicts on its nodes.

    Args:
        address, cores: as of `engine.connected`.
        load: returns the model in evaluation mode, on the CPU. It is pickled, and so holds what nodes do not have.
        threads: of the processor, for each task.

    Raises:
        UserError: as `engine.connected` and `engine.refuse_resources`.
    """
    resources = Resources(threads, int(device.type == "cuda"))
    # Pickled, so that a node can prepare before it unpickles what needs PyTorch.
    shared = (pickle.dumps(load), device.type, threads, settings)

    def execute(tasks: Iterator[Task], on_progress: Progress) -> Iterator[tuple[int, Arrays]]:
        calls = ((f"{task.plan.boundary}, images {task.number}", (pickle.dumps(task),)) for task in tasks)
        for _, result in engine.results(_predict, calls, resources, shared=shared):
            if isinstance(result, UserError):
                raise result
            number, images, arrays = pickle.loads(result)
            on_progress(images)
            yield number, arrays

    with engine.connected(address, cores):
        engine.refuse_resources(resources)
        yield execute


def _predict(load: bytes, device: str, threads: int, settings: Determinism, pickled: bytes) -> bytes:
    """Predict a task, on a node; return its number, how many images were predicted, and its arrays, pickled."""
    determinism.prepare(settings)
    model = _load(load, device, threads)
    import torch

    from shiftlab.shifts import inference

    task: Task = pickle.loads(pickled)
    images: list[int] = []
    arrays = inference.predict_task(model, task, torch.device(device), images.append)
    return pickle.dumps((task.number, sum(images), arrays))


@functools.lru_cache(maxsize=1)
def _load(load: bytes, device: str, threads: int) -> nn.Module:
    """Load a model once in each process of a node."""

    determinism.set_threads(threads)
    determinism.pick_device(cast("DeviceName", device))
    model: nn.Module = pickle.loads(load)()
    return model.to(device)
