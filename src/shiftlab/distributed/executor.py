"""Forward passes on the nodes of a Ray cluster: the same bytes as in this process.

What a node imports here is light: PyTorch comes after `determinism.prepare`.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from shiftlab import determinism
from shiftlab.config.params import Determinism, DeviceName
from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from shiftlab.shifts.inference import Executor, Progress, Task
    from shiftlab.shifts.store import Arrays


class RemoteModelSpec(Protocol):
    """What a node makes a model from: it is pickled, and so holds what is not installed there."""

    def load(self) -> nn.Module:
        """Return the model in evaluation mode, on the CPU."""


def on_nodes(spec: RemoteModelSpec, device: DeviceName, threads: int, how: Determinism) -> Executor:
    """Return the executor that predicts on the nodes of the cluster which is connected.

    Args:
        threads: of the processor, for each task.

    Raises:
        UserError: as `engine.refuse_room`.
    """
    resources = Resources(threads, int(device == "cuda"))
    engine.refuse_room(resources)
    # Packed, so that a node can prepare before it unpacks what needs PyTorch.
    shared = engine.Shared(pickle.dumps(spec))

    def execute(tasks: Iterator[Task], on_progress: Progress) -> Iterator[tuple[int, Arrays]]:
        jobs = (
            (f"{task.plan.boundary}, images {task.number}", (shared, device, threads, how, pickle.dumps(task)))
            for task in tasks
        )
        for _, result in engine.results(_predict, jobs, resources):
            if isinstance(result, UserError):
                raise result
            number, images, arrays = pickle.loads(result)
            on_progress(images)
            yield number, arrays

    return execute


def _predict(spec: bytes, device: DeviceName, threads: int, how: Determinism, task: bytes) -> bytes:
    """Predict a task, on a node; return its number, how many images that were, and its arrays, packed."""
    determinism.prepare(how)
    model = _load(spec, device, threads)
    import torch

    from shiftlab.shifts import inference

    work: Task = pickle.loads(task)
    seen: list[int] = []
    arrays = inference.predict_task(model, work, torch.device(device), seen.append)
    return pickle.dumps((work.number, sum(seen), arrays))


@functools.lru_cache(maxsize=1)
def _load(spec: bytes, device: DeviceName, threads: int) -> nn.Module:
    """Load a model once in each process of a node."""

    determinism.use(threads)
    determinism.pick_device(device)
    unpacked: RemoteModelSpec = pickle.loads(spec)
    return unpacked.load().to(device)
