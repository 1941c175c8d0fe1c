"""A prediction in its parts, on whatever nodes have room; the whole is the same bytes as one machine's.

What a node imports here is light: PyTorch comes after `determinism.prepare`.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shiftlab import determinism
from shiftlab.config.params import Determinism, DeviceName, Evaluation
from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError
from shiftlab.shifts.predictions import PredictionMetadata, Predictions

if TYPE_CHECKING:
    from shiftlab.shifts.inference import Arrays, Parts, Plan


@dataclass(frozen=True, eq=False)
class Question:
    """What any part of a prediction is computed from. Tasks unpack it anew: what it is of tells whether two are one."""

    architecture: str
    weights: NDArray[np.uint8]  # the bytes of the file, which as an array tasks share rather than copy
    images: NDArray[np.uint8]  # (N, C, H, W)
    labels: NDArray[np.int64]  # (N,)
    about: PredictionMetadata
    wanted: Evaluation
    device: DeviceName
    threads: int
    determinism: Determinism

    @property
    def _known_by(self) -> tuple[object, ...]:
        return (
            self.about,
            str(self.wanted),
            self.device,
            self.threads,
            self.determinism,
        )  # with the digests of data and weights

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and self._known_by == other._known_by

    def __hash__(self) -> int:
        return hash(self._known_by)


def predict(
    question: Question, address: str, parts: Parts, on_progress: Callable[[int], object] = lambda _: None
) -> Predictions:
    """As `inference.predict`, of a model of ours.

    Args:
        address: Ray's, as `engine.connected` takes it.
        parts: what is found here is not computed again.
        on_progress: called with the number of images done since the last call.

    Raises:
        UserError: as `engine.connected` and `inference.Plan`.
    """
    whole = plan(question)
    found: dict[str, Arrays] = {}
    for name, part in whole.parts.items():
        if (arrays := parts.load(name)) is not None:
            found[name] = arrays
            on_progress(part.images)
    room = Resources(question.threads, int(question.device == "cuda"))
    with engine.connected(address):
        engine.refuse_room(room)
        shared = engine.Shared(question)
        rest = ((name, (shared, name)) for name in whole.parts if name not in found)
        for name, answer in engine.results(compute, rest, room):
            if isinstance(answer, UserError):
                raise answer
            parts.save(name, answer)
            found[name] = answer
            on_progress(whole.parts[name].images)
    return whole.assembled(found)


def compute(question: Question, name: str) -> Arrays:
    """A part of a prediction, by its name in the plan, on a node."""
    determinism.prepare(question.determinism)
    return _ready(question).parts[name].compute()


@functools.lru_cache(maxsize=1)
def _ready(question: Question) -> Plan:
    """Made ready once for each process."""
    from shiftlab import device  # with PyTorch

    determinism.use(question.threads)
    device.pick(question.device)
    return plan(question)


def plan(question: Question) -> Plan:
    """The parts of the answer."""
    import torch

    from shiftlab.data.dataset import Examples
    from shiftlab.models import weights
    from shiftlab.models.fast import fuse
    from shiftlab.shifts.inference import Plan

    chosen = torch.device(question.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        path.write_bytes(question.weights.tobytes())
        about = question.about
        model = weights.load(question.architecture, path, about.shape, len(about.classes)).to(chosen)
    images = torch.from_numpy(question.images.copy())  # what nodes share can't be written to
    test = Examples(images, torch.from_numpy(question.labels.copy())).to(chosen)
    return Plan(fuse(model, about.shape), test, question.wanted, about)
