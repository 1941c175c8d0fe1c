"""Forward passes of an audit: images stream from where they lie, a chunk at a time, and what is done is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shiftlab.audits.images import Images
from shiftlab.audits.model import PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.params import NAMED_REACH, BoundaryName, Evaluation
from shiftlab.data.dataset import Examples
from shiftlab.shifts import inference, predictions
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import PredictionMetadata, Predictions, answer_type

CHUNK_VALUES = 10_000_000  # pixels' values in memory at a time, times a small number
MOST_IN_CHUNK = 250  # images: what a forward pass takes


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring images of an audit."""

    number: int
    first: int  # the place of its first image among all
    images: NDArray[np.uint8]  # (n, C, H, W), raw
    labels: NDArray[np.int64] | None  # (n,)
    of_sets: Mapping[str, Shifts]  # each image's shift in each named set


# Answers chunks, in whatever order: each one's number and what the model calls its images.
Ask = Callable[[PredictionMetadata, Iterator[Chunk]], Iterator[tuple[int, Predictions]]]


def here(
    prepared: PreprocessedModel,
    protocol: Evaluation,
    device: torch.device,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Ask:
    """Have chunks answered in this process, one after the other.

    Args:
        on_progress: called with the number of images done since the last call.
    """

    def ask(about: PredictionMetadata, chunks: Iterator[Chunk]) -> Iterator[tuple[int, Predictions]]:
        for chunk in chunks:
            yield chunk.number, answer(prepared, protocol, about, chunk, device, on_progress)

    return ask


def answer(
    prepared: PreprocessedModel,
    protocol: Evaluation,
    about: PredictionMetadata,
    chunk: Chunk,
    device: torch.device,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Predictions:
    """What a model calls the images of a chunk. Without labels, what it calls an unshifted image stands for its label.

    Raises:
        UserError: the model fails.
    """
    labels = np.zeros(len(chunk.images), np.int64) if chunk.labels is None else chunk.labels
    examples = Examples(torch.from_numpy(chunk.images), torch.from_numpy(labels)).to(device)
    found = inference.predict(prepared, examples, protocol, about, inference.Nowhere(), on_progress, chunk.of_sets)
    if chunk.labels is None:
        found = replace(found, labels=found.sets["clean"].predicted.astype(answer_type(len(about.classes))))
    return found


def answers(
    preprocessing: Preprocessing,
    images: Images,
    labels: NDArray[np.integer] | None,
    protocol: Evaluation,
    about: PredictionMetadata,
    kept: Path | None,
    ask: Ask,
    on_kept: Callable[[int], object] = lambda _: None,
) -> Predictions:
    """What a model calls the images in the boundary that `about` tells, as `inference.predict`, of all of them.

    Args:
        labels: of the images, by the model's outputs; None where there are none.
        kept: a folder for the chunks that are done, of this very question: an interrupted audit goes on from there.
        ask: has them answered.
        on_kept: called with the number of images of a chunk that was done before.

    Raises:
        UserError: an image can't be read; the model fails.
    """
    margin = margin_of(about.boundary, protocol)
    size = chunk_size(preprocessing.shape, margin)
    everything = inference.named_sets(len(images), protocol.seed)
    folder = kept / _key(about, protocol, preprocessing, size) if kept else None
    done: dict[int, Predictions] = {}
    for number in range(-(-len(images) // size)):
        if folder and (part := folder / f"{number}.safetensors").is_file():
            done[number] = predictions.load(part)
            on_kept(passes(protocol, len(done[number].labels)))

    def missing() -> Iterator[Chunk]:
        begin = next((number for number in range(len(images)) if number not in done), 0)
        for number, raw in enumerate(images.batches(preprocessing, margin, size, first=begin * size), start=begin):
            if number not in done:
                place = slice(number * size, number * size + len(raw))
                given = None if labels is None else labels[place].astype(np.int64)
                of_sets = {name: shifts[place] for name, shifts in everything.items()}
                yield Chunk(number, number * size, raw.numpy(), given, of_sets)

    for number, found in ask(about, missing()):
        if folder:
            predictions.save(found, folder / f"{number}.safetensors")
        done[number] = found
    return predictions.joined([done[number] for number in sorted(done)])


def margin_of(boundary: BoundaryName, protocol: Evaluation) -> int:
    """Pixels around the frame that a boundary brings into sight."""
    return max(protocol.radius, NAMED_REACH) if boundary == "crop" else 0


def passes(protocol: Evaluation, images: int) -> int:
    """How many images are classified, in one boundary, to audit so many."""
    return inference.count(protocol, np.zeros(images, np.int64))


def chunk_size(shape: tuple[int, int, int], margin: int) -> int:
    """How many images are in memory at a time."""
    channels, height, width = shape
    values = channels * (height + 2 * margin) * (width + 2 * margin)
    return max(1, min(MOST_IN_CHUNK, CHUNK_VALUES // values))


def _key(about: PredictionMetadata, protocol: Evaluation, preprocessing: object, size: int) -> str:
    asked: Mapping[str, object] = {**asdict(about), **protocol.model_dump(), "preprocessing": str(preprocessing)}
    return hashlib.sha256(json.dumps({**asked, "chunk": size}, sort_keys=True).encode()).hexdigest()[:16]
