"""Forward passes over shifted test sets."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from shiftlab.data.dataset import Examples, middle
from shiftlab.measure.predictions import About, OnGrid, OnSet, Predictions, answer_type
from shiftlab.measure.regimes import Frame, shift_by_fraction, shift_each, surround, window
from shiftlab.measure.shifts import DIRECTIONS, FRACTIONS, NAMED_SETS, Shifts, line, named_set, sample, subset
from shiftlab.params import Evaluation, RegimeName

# Images in a forward pass: on a CPU what its caches hold, elsewhere enough to keep it busy. No figure depends on it.
CPU_BATCH, ACCELERATOR_BATCH = 250, 10_000

Arrays = dict[str, NDArray[Any]]


class Parts(Protocol):
    """Where the parts of an unfinished prediction are kept, for a later attempt to go on from."""

    def load(self, name: str) -> Arrays | None:
        """The part `name`; None where it has not been done."""

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a part."""


class Nowhere:
    """Parts that are not kept: what is computed is whole, or not there."""

    def load(self, name: str) -> Arrays | None:  # noqa: ARG002
        """Nothing has been done before."""
        return None

    def save(self, name: str, arrays: Arrays) -> None:
        """Nothing is kept."""


def predict(
    model: nn.Module,
    test: Examples,
    params: Evaluation,
    about: About,
    parts: Parts,
    on_progress: Callable[[int], object] = lambda _: None,
    of_sets: Mapping[str, Shifts] | None = None,
) -> Predictions:
    """The answers of `model`, in evaluation mode, in one regime: on the named sets, along lines, on the grid.

    Args:
        test: images at least as large as the frame that `about` tells; the regime `crop` needs them larger.
        about: what the answers are of; its regime is the one evaluated.
        parts: what is found here is not computed again.
        on_progress: called with the number of images done since the last call.
        of_sets: each image's shift in each named set, where the images are part of a larger test set; none are drawn.

    Raises:
        UserError: the test set has fewer images than `params` asks for.
    """
    labels = test.labels.cpu().numpy().astype(answer_type(len(about.classes)))
    regime, radius, frame = about.regime, params.radius, about.shape[1:]
    chosen = subset(labels, params.images, params.seed)

    def once(name: str, images: int, compute: Callable[[], Arrays]) -> Arrays:
        arrays = parts.load(name)
        if arrays is None:
            arrays = compute()
            parts.save(name, arrays)
        on_progress(images)
        return arrays

    reach = max(radius, int(FRACTIONS[-1]) + 1)
    surrounded = surround(test.images, reach, regime, frame)
    unshifted = probabilities(model, middle(test.images, frame))

    def on_all(name: str, images: Callable[[], Tensor]) -> Arrays:
        return once(name, len(test), lambda: _answers(probabilities(model, images()), unshifted))

    # What shifts all images alike has a name that tells by how much, and is computed once however often it is wanted.
    sets = {}
    for name, shifts in (of_sets or named_sets(len(test), params.seed)).items():
        alike = (shifts == shifts[0]).all()
        moved = partial(shift_each, test.images, shifts, regime, frame)
        answers = on_all(_by(*shifts[0].tolist()) if alike else name, moved)
        sets[name] = OnSet(shifts, answers["predicted"], answers["confidence"])
    lines = line_shifts(radius)
    on_lines = [on_all(_by(dx, dy), partial(window, surrounded, reach, dx, dy)) for dx, dy in lines.tolist()]
    on_fractions = [on_all(_by(dx, 0), partial(shift_by_fraction, surrounded, reach, dx)) for dx in FRACTIONS.tolist()]

    # The grid holds the lines, whose answers are there already.
    images = test.images[chosen]
    surrounded_few, unshifted_few = surround(images, radius, regime, frame), unshifted[chosen]
    cells = {
        (dx, dy): {key: values[chosen] for key, values in answers.items()}
        for (dx, dy), answers in zip(lines.tolist(), on_lines, strict=True)
    }
    everywhere = sample(radius, params.shifts, params.seed)
    for dy in np.unique(everywhere[:, 1]).tolist():
        row = everywhere[everywhere[:, 1] == dy].tolist()
        rest = [(dx, dy) for dx, dy in row if (dx, dy) not in cells]
        if rest:
            shifted = [partial(window, surrounded_few, radius, dx, dy) for dx, dy in rest]
            compute = partial(_on_row, model, shifted, unshifted_few)
            answers = once(f"row {dy}", len(rest) * len(chosen), compute)
            cells |= {place: {key: values[at] for key, values in answers.items()} for at, place in enumerate(rest)}
    on_grid = {key: np.stack([cells[dx, dy][key] for dx, dy in everywhere.tolist()]) for key in cells[0, 0]}
    return Predictions(
        about,
        labels,
        sets,
        lines,
        np.stack([answers["predicted"] for answers in on_lines]),
        FRACTIONS.astype(np.float32),
        np.stack([answers["predicted"] for answers in on_fractions]),
        OnGrid(
            chosen,
            everywhere,
            on_grid["predicted"],
            on_grid["confidence"].astype(np.float16),
            on_grid["euclidean"],
            on_grid["cosine"],
            ink_in_frame(images, everywhere, regime, frame),
        ),
    )


def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """The class probabilities, float32 `(N, classes)`, of raw images `(N, C, H, W)`."""
    with torch.inference_mode():
        return torch.cat([model(batch).softmax(1) for batch in images.split(batch_size(images.device))])


def batch_size(device: torch.device) -> int:
    """How many images a forward pass there takes."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def named_sets(count: int, seed: int) -> dict[str, Shifts]:
    """The shift of each of `count` images in every named set, `(count, 2)` each."""
    return {name: named_set(name, count, seed) for name in NAMED_SETS}


def line_shifts(radius: int) -> Shifts:
    """Every shift along the three directions once, `(L, 2)`."""
    return np.unique(np.concatenate([line(direction, radius) for direction in DIRECTIONS]), axis=0)


def count(params: Evaluation, labels: NDArray[np.integer]) -> int:
    """How many images `predict` classifies in one regime.

    Raises:
        UserError: as `predict`.
    """
    lines = line_shifts(params.radius)
    everywhere = set(map(tuple, sample(params.radius, params.shifts, params.seed).tolist()))
    elsewhere = len(everywhere - set(map(tuple, lines.tolist())))
    on_all = len(NAMED_SETS) + len(lines) + len(FRACTIONS)
    return on_all * len(labels) + elsewhere * len(subset(labels, params.images, params.seed))


def ink_in_frame(images: Tensor, shifts: Shifts, regime: RegimeName, frame: Frame | None = None) -> NDArray[np.int32]:
    """The raw intensity of each of M images that each of `shifts`, `(S, 2)`, leaves in the frame; `(S, M)`."""
    radius = int(np.abs(shifts.astype(int)).max())
    surrounded = surround(images, radius, regime, frame)
    left = [window(surrounded, radius, dx, dy).sum((1, 2, 3), dtype=torch.int32) for dx, dy in shifts.tolist()]
    return torch.stack(left).cpu().numpy()


def _by(dx: float, dy: float) -> str:
    return f"shift {dx:g} {dy:g}"


def _answers(found: Tensor, unshifted: Tensor) -> Arrays:
    """What each image is called, with what probability, and how far its probabilities are from `unshifted`."""
    confidence, predicted = found.max(-1)
    answers = predicted.cpu().numpy().astype(answer_type(found.shape[-1]))
    arrays = {
        "confidence": confidence,
        "euclidean": (found - unshifted).norm(dim=-1).half(),
        "cosine": (1 - cosine_similarity(found.double(), unshifted.double(), dim=-1)).half(),
    }
    return {"predicted": answers, **{key: values.cpu().numpy() for key, values in arrays.items()}}


def _on_row(model: nn.Module, shifted: Sequence[Callable[[], Tensor]], unshifted: Tensor) -> Arrays:
    """The answers under each of some shifts, `(K, M)`; several shifts share a forward pass where images are few."""
    together = max(1, batch_size(unshifted.device) // len(unshifted))
    found = []
    for first in range(0, len(shifted), together):
        some = shifted[first : first + together]
        moved = torch.cat([images() for images in some])
        found.append(_answers(probabilities(model, moved).unflatten(0, (len(some), -1)), unshifted))
    return {key: np.concatenate([answers[key] for answers in found]) for key in found[0]}
