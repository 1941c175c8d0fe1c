"""Forward passes of an audit: images stream from where they lie, a chunk at a time, and what is done is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shiftlab.auditing.images import Images
from shiftlab.auditing.model import Prepared
from shiftlab.data.dataset import Examples
from shiftlab.measure import inference, predictions
from shiftlab.measure.predictions import About, Predictions, answer_type
from shiftlab.params import NAMED_REACH, Evaluation, RegimeName

CHUNK_VALUES = 10_000_000  # pixels' values in memory at a time, times a small number
MOST_IN_CHUNK = 250  # images: what a forward pass takes


def answers(
    prepared: Prepared,
    images: Images,
    labels: NDArray[np.integer] | None,
    protocol: Evaluation,
    about: About,
    device: torch.device,
    kept: Path | None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Predictions:
    """What a model calls the images in the regime that `about` tells, as `inference.predict`, of all of them.

    Args:
        labels: of the images, by the model's outputs; None where there are none: then what the model calls an unshifted
            image stands for its label.
        kept: a folder for the chunks that are done, of this very question: an interrupted audit goes on from there.
        on_progress: called with the number of images done since the last call.

    Raises:
        UserError: an image can't be read; the model fails.
    """
    preprocessing = prepared.preprocessing
    margin = margin_of(about.regime, protocol)
    size = chunk_size(preprocessing.shape, margin)
    everything = inference.named_sets(len(images), protocol.seed)
    folder = kept / _key(about, protocol, preprocessing, size) if kept else None
    done: list[Predictions] = []
    while folder and (part := folder / f"{len(done)}.safetensors").is_file():
        done.append(predictions.load(part))
        on_progress(passes(protocol, len(done[-1].labels)))
    for raw in images.batches(preprocessing, margin, size, first=sum(len(one.labels) for one in done)):
        first = sum(len(one.labels) for one in done)
        here = slice(first, first + len(raw))
        given = np.zeros(len(raw), np.int64) if labels is None else labels[here]
        chunk = Examples(raw, torch.from_numpy(given.astype(np.int64))).to(device)
        of_sets = {name: shifts[here] for name, shifts in everything.items()}
        found = inference.predict(prepared, chunk, protocol, about, inference.Nowhere(), on_progress, of_sets)
        if labels is None:
            found = replace(found, labels=found.sets["clean"].predicted.astype(answer_type(len(about.classes))))
        if folder:
            predictions.save(found, folder / f"{len(done)}.safetensors")
        done.append(found)
    return predictions.joined(done)


def margin_of(regime: RegimeName, protocol: Evaluation) -> int:
    """Pixels around the frame that a regime brings into sight."""
    return max(protocol.radius, NAMED_REACH) if regime == "crop" else 0


def passes(protocol: Evaluation, images: int) -> int:
    """How many images are classified, in one regime, to audit so many."""
    return inference.count(protocol, np.zeros(images, np.int64))


def chunk_size(shape: tuple[int, int, int], margin: int) -> int:
    """How many images are in memory at a time."""
    channels, height, width = shape
    values = channels * (height + 2 * margin) * (width + 2 * margin)
    return max(1, min(MOST_IN_CHUNK, CHUNK_VALUES // values))


def _key(about: About, protocol: Evaluation, preprocessing: object, size: int) -> str:
    asked: Mapping[str, object] = {**asdict(about), **protocol.model_dump(), "preprocessing": str(preprocessing)}
    return hashlib.sha256(json.dumps({**asked, "chunk": size}, sort_keys=True).encode()).hexdigest()[:16]
