"""An audit's forward passes on Ray's nodes. What a node imports here is light: PyTorch comes after `prepare`."""

from __future__ import annotations

import functools
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab import determinism
from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError

if TYPE_CHECKING:
    from shiftlab.audits.adapters import ModelOptions
    from shiftlab.audits.asking import Ask, Chunk
    from shiftlab.audits.model import PreprocessedModel
    from shiftlab.audits.preprocessing import Preprocessing
    from shiftlab.config.params import Evaluation
    from shiftlab.shifts.predictions import PredictionMetadata, Predictions


@dataclass(frozen=True)
class Recipe:
    """What a node makes the audited model from: the files that it is in are handed over, the rest is installed."""

    model: str  # as the user names it
    given: ModelOptions
    preprocessing: Preprocessing
    protocol: Evaluation
    threads: int
    files: dict[str, bytes]  # by what the user calls them


def recipe(model: str, given: ModelOptions, preprocessing: Preprocessing, protocol: Evaluation, threads: int) -> Recipe:
    """That of a model which this machine has loaded, with its files."""
    named = [model, model.rpartition(":")[0], str(given.weights or "")]
    files = {name: Path(name).read_bytes() for name in named if name and Path(name).is_file()}
    return Recipe(model, given, preprocessing, protocol, threads, files)


def on_nodes(asked: Recipe, on_progress: Callable[[int], object]) -> Ask:
    """Have chunks answered by the nodes of the cluster that is connected.

    Args:
        on_progress: called with the number of images done since the last call.

    Raises:
        UserError: as `engine.refuse_room`.
    """
    from shiftlab.audits import asking

    # Packed, so that a node can prepare before it unpacks what needs PyTorch.
    shared = engine.Shared(pickle.dumps(asked))
    room = Resources(asked.threads, int(asked.given.device.type == "cuda"))
    engine.refuse_room(room)

    def ask(about: PredictionMetadata, chunks: Iterator[Chunk]) -> Iterator[tuple[int, Predictions]]:
        tasks = (
            (f"{about.boundary}, images from {chunk.first}", (shared, pickle.dumps((about, chunk)))) for chunk in chunks
        )
        for _, answer in engine.results(answer_chunk, tasks, room):
            if isinstance(answer, UserError):
                raise answer
            number, found = pickle.loads(answer)
            on_progress(asking.passes(asked.protocol, len(found.labels)))
            yield number, found

    return ask


def answer_chunk(asked: bytes, chunk: bytes) -> bytes:
    """A chunk's answers, on a node: its number and they, packed."""
    determinism.prepare()
    prepared, known = _prepared(asked)
    from shiftlab.audits import asking

    about, images = pickle.loads(chunk)
    return pickle.dumps((images.number, asking.answer(prepared, known.protocol, about, images, known.given.device)))


@functools.lru_cache(maxsize=1)
def _prepared(asked: bytes) -> tuple[PreprocessedModel, Recipe]:
    from shiftlab.audits import adapters
    from shiftlab.audits.model import PreprocessedModel

    one: Recipe = pickle.loads(asked)
    determinism.use(one.threads)
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder, Path(name).name) for name in one.files}
        for name, content in one.files.items():
            places[name].write_bytes(content)
        what = one.model
        for name, place in places.items():
            if what == name or what.startswith(f"{name}:"):
                what = f"{place}{what.removeprefix(name)}"
        weights = places.get(str(one.given.weights), one.given.weights)
        model = adapters.load(what, replace(one.given, weights=weights))
    return PreprocessedModel(replace(model, name=one.model), one.preprocessing).eval(), one
