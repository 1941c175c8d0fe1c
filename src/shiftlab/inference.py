"""Forward passes over shifted test sets."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.utils.flop_counter import FlopCounterMode

from shiftlab.data import Examples
from shiftlab.params import Evaluation, RegimeName
from shiftlab.predictions import About, OnGrid, OnSet, Predictions
from shiftlab.shifts import (
    DIRECTIONS,
    FRACTIONS,
    NAMED_SETS,
    Shifts,
    grid,
    line,
    named_set,
    shift_by_fraction,
    shift_each,
    subset,
    surround,
    window,
)
from shiftlab.training import INFERENCE_BATCH

Arrays = dict[str, NDArray[Any]]


class Parts(Protocol):
    """Where the parts of an unfinished prediction are kept, for a later attempt to go on from."""

    def load(self, name: str) -> Arrays | None:
        """The part `name`; None where it has not been done."""

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a part."""


def predict(
    model: nn.Module,
    test: Examples,
    params: Evaluation,
    about: About,
    parts: Parts,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Predictions:
    """The answers of `model`, in evaluation mode, in one regime: on the named sets, along lines, on the grid.

    Args:
        about: what the answers are of; its regime is the one evaluated.
        parts: what is found here is not computed again.
        on_progress: called with the number of images done since the last call.

    Raises:
        UserError: the test set has fewer images than `params` asks for.
    """
    labels = test.labels.to(torch.uint8).cpu().numpy()
    regime, radius = about.regime, params.radius
    chosen = subset(labels, params.images, params.seed)

    def once(name: str, images: int, compute: Callable[[], Arrays]) -> Arrays:
        arrays = parts.load(name)
        if arrays is None:
            arrays = compute()
            parts.save(name, arrays)
        on_progress(images)
        return arrays

    reach = max(radius, int(FRACTIONS[-1]) + 1)
    surrounded = surround(test.images, reach, regime)

    def on_all(name: str, images: Callable[[], Tensor]) -> Arrays:
        return once(name, len(test), partial(_on_images, model, images))

    # What shifts all images alike has a name that tells by how much, and is computed once however often it is wanted.
    sets = {}
    for name in NAMED_SETS:
        shifts = named_set(name, len(test), params.seed)
        alike = (shifts == shifts[0]).all()
        shifted = partial(shift_each, test.images, shifts, regime)
        sets[name] = OnSet(shifts, **on_all(_by(*shifts[0].tolist()) if alike else name, shifted))
    lines = line_shifts(radius)
    on_lines = [on_all(_by(dx, dy), partial(window, surrounded, reach, dx, dy)) for dx, dy in lines.tolist()]
    on_fractions = [on_all(_by(dx, 0), partial(shift_by_fraction, surrounded, reach, dx)) for dx in FRACTIONS.tolist()]

    images = test.images[chosen]
    surrounded_few = surround(images, radius, regime)
    unshifted = probabilities(model, images)
    everywhere = grid(radius)
    rows = [
        once(
            f"row {row[0, 1]}", len(row) * len(chosen), partial(_on_row, model, surrounded_few, radius, unshifted, row)
        )
        for row in everywhere.reshape(2 * radius + 1, -1, 2)
    ]
    on_grid = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    return Predictions(
        about,
        labels,
        sets,
        lines,
        np.stack([answers["predicted"] for answers in on_lines]),
        FRACTIONS.astype(np.float32),
        np.stack([answers["predicted"] for answers in on_fractions]),
        OnGrid(chosen, everywhere, ink=ink_retained(images, everywhere, regime), **on_grid),
    )


def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """The class probabilities, float32 `(N, classes)`, of raw images `(N, H, W)`."""
    with torch.inference_mode():
        return torch.cat([model(batch).softmax(1) for batch in images.split(INFERENCE_BATCH)])


def line_shifts(radius: int) -> Shifts:
    """Every shift along the three directions once, `(L, 2)`."""
    return np.unique(np.concatenate([line(direction, radius) for direction in DIRECTIONS]), axis=0)


def count(params: Evaluation, labels: NDArray[np.integer]) -> int:
    """How many images `predict` classifies in one regime.

    Raises:
        UserError: as `predict`.
    """
    on_all = len(NAMED_SETS) + len(FRACTIONS) + len(line_shifts(params.radius))
    return on_all * len(labels) + len(grid(params.radius)) * len(subset(labels, params.images, params.seed))


def ink_retained(images: Tensor, shifts: Shifts, regime: RegimeName) -> NDArray[np.float32]:
    """The share of the images' raw intensity that each of `shifts`, `(S, 2)`, leaves in the frame; `(S,)`."""
    total = images.sum(0, keepdim=True, dtype=torch.int64)
    radius = int(np.abs(shifts).max())
    surrounded = surround(total, radius, regime)
    left = [int(window(surrounded, radius, dx, dy).sum()) for dx, dy in shifts.tolist()]
    return (np.array(left) / int(total.sum())).astype(np.float32)


def cost(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """How many parameters the model has, and how many products it adds up for one raw image `(H, W)`."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image.unsqueeze(0))
    return sum(weights.numel() for weights in model.parameters()), counter.get_total_flops() // 2


def _by(dx: float, dy: float) -> str:
    return f"shift {dx:g} {dy:g}"


def _on_images(model: nn.Module, images: Callable[[], Tensor]) -> Arrays:
    confidence, predicted = probabilities(model, images()).max(1)
    return {"predicted": predicted.to(torch.uint8).cpu().numpy(), "confidence": confidence.cpu().numpy()}


def _on_row(model: nn.Module, surrounded: Tensor, radius: int, unshifted: Tensor, shifts: Shifts) -> Arrays:
    columns: dict[str, list[NDArray[Any]]] = {"predicted": [], "confidence": [], "euclidean": [], "cosine": []}
    for dx, dy in shifts.tolist():
        answers = probabilities(model, window(surrounded, radius, dx, dy))
        confidence, predicted = answers.max(1)
        found = {
            "predicted": predicted.to(torch.uint8),
            "confidence": confidence.half(),
            "euclidean": (answers - unshifted).norm(dim=1).half(),
            "cosine": (1 - cosine_similarity(answers.double(), unshifted.double())).half(),
        }
        for key, values in found.items():
            columns[key].append(values.cpu().numpy())
    return {key: np.stack(values) for key, values in columns.items()}
