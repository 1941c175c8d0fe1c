"""Forward passes over shifted test sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from shiftlab.config.params import BoundaryName, Evaluation
from shiftlab.data.dataset import Examples, center_crop
from shiftlab.shifts.boundaries import Frame, shift_by_fraction, shift_each, surround, window
from shiftlab.shifts.grids import DIRECTIONS, FRACTIONS, NAMED_SETS, Shifts, line, named_set, sample, subset
from shiftlab.shifts.predictions import GridPredictions, PredictionMetadata, Predictions, SetPredictions, answer_type

# Images in a forward pass: on a CPU what its caches hold, elsewhere enough to keep it busy. No metric depends on it.
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


@dataclass(frozen=True)
class Part:
    """Some of a plan's answers."""

    images: int  # that it classifies
    compute: Callable[[], Arrays]


class Plan:
    """The answers of `model`, in evaluation mode, in one boundary: on the named sets, along lines, on the grid.

    They come in parts, which can be computed in any order and anywhere: the same part is the same bytes.

    Args:
        test: images at least as large as the frame that `about` tells; the boundary `crop` needs them larger.
        about: what the answers are of; its boundary is the one evaluated.
        of_sets: each image's shift in each named set, where the images are part of a larger test set; none are drawn.

    Raises:
        UserError: the test set has fewer images than `params` asks for.
    """

    def __init__(
        self,
        model: nn.Module,
        test: Examples,
        params: Evaluation,
        about: PredictionMetadata,
        of_sets: Mapping[str, Shifts] | None = None,
    ) -> None:
        self._model, self._test, self._about, self._radius = model, test, about, params.radius
        self._frame = about.shape[1:]
        self._labels = test.labels.cpu().numpy().astype(answer_type(len(about.classes)))
        self._chosen = subset(self._labels, params.images, params.seed)
        self._sets = of_sets or named_sets(len(test), params.seed)
        self._lines = line_shifts(params.radius)
        self._everywhere = sample(params.radius, params.shifts, params.seed)
        self._rows = _rows(self._everywhere, self._lines)
        self.parts = {**self._parts_on_all(), **self._parts_on_the_grid()}

    def assembled(self, found: Mapping[str, Arrays]) -> Predictions:
        """The whole, from what all parts have given, by their names."""
        sets = {}
        for name, shifts in self._sets.items():
            answers = found[_name_of_set(name, shifts)]
            sets[name] = SetPredictions(shifts, answers["predicted"], answers["confidence"])
        on_lines = [found[_by(dx, dy)] for dx, dy in self._lines.tolist()]
        on_fractions = [found[_by(dx, 0)] for dx in FRACTIONS.tolist()]
        # The grid holds the lines.
        cells = {
            (dx, dy): {key: values[self._chosen] for key, values in answers.items()}
            for (dx, dy), answers in zip(self._lines.tolist(), on_lines, strict=True)
        }
        for row, places in self._rows.items():
            for at, place in enumerate(places):
                cells[place] = {key: values[at] for key, values in found[_name_of_row(row)].items()}
        grid = {key: np.stack([cells[dx, dy][key] for dx, dy in self._everywhere.tolist()]) for key in cells[0, 0]}
        images = self._test.images[self._chosen]
        return Predictions(
            self._about,
            self._labels,
            sets,
            self._lines,
            np.stack([answers["predicted"] for answers in on_lines]),
            FRACTIONS.astype(np.float32),
            np.stack([answers["predicted"] for answers in on_fractions]),
            GridPredictions(
                self._chosen,
                self._everywhere,
                grid["predicted"],
                grid["confidence"].astype(np.float16),
                grid["euclidean"],
                grid["cosine"],
                ink_in_frame(images, self._everywhere, self._about.boundary, self._frame),
            ),
        )

    @cached_property
    def _unshifted(self) -> Tensor:
        return probabilities(self._model, center_crop(self._test.images, self._frame))

    @cached_property
    def _surrounded(self) -> Tensor:
        return surround(self._test.images, self._reach, self._about.boundary, self._frame)

    @cached_property
    def _surrounded_few(self) -> Tensor:
        return surround(self._test.images[self._chosen], self._radius, self._about.boundary, self._frame)

    @property
    def _reach(self) -> int:
        return max(self._radius, int(FRACTIONS[-1]) + 1)

    def _parts_on_all(self) -> dict[str, Part]:
        """Of all images. What shifts them alike has a name that tells by how much, and is there once."""

        def moved_each(shifts: Shifts) -> Tensor:
            return shift_each(self._test.images, shifts, self._about.boundary, self._frame)

        ways: dict[str, Callable[[], Tensor]] = {
            _name_of_set(name, shifts): partial(moved_each, shifts) for name, shifts in self._sets.items()
        }
        ways |= {_by(dx, 0): partial(self._moved_by_fraction, dx) for dx in FRACTIONS.tolist()}
        ways |= {_by(dx, dy): partial(self._moved, dx, dy) for dx, dy in self._lines.tolist()}

        def on_all(images: Callable[[], Tensor]) -> Arrays:
            return _answers(probabilities(self._model, images()), self._unshifted)

        return {name: Part(len(self._test), partial(on_all, images)) for name, images in ways.items()}

    def _parts_on_the_grid(self) -> dict[str, Part]:
        """Of some images, for the rows of the grid without the lines."""

        def on_row(places: Sequence[tuple[int, int]]) -> Arrays:
            shifted = [partial(window, self._surrounded_few, self._radius, dx, dy) for dx, dy in places]
            return _on_row(self._model, shifted, self._unshifted[self._chosen])

        return {
            _name_of_row(row): Part(len(places) * len(self._chosen), partial(on_row, places))
            for row, places in self._rows.items()
        }

    def _moved(self, dx: int, dy: int) -> Tensor:
        return window(self._surrounded, self._reach, dx, dy)

    def _moved_by_fraction(self, dx: float) -> Tensor:
        return shift_by_fraction(self._surrounded, self._reach, dx)


def predict(
    model: nn.Module,
    test: Examples,
    params: Evaluation,
    about: PredictionMetadata,
    parts: Parts,
    on_progress: Callable[[int], object] = lambda _: None,
    of_sets: Mapping[str, Shifts] | None = None,
) -> Predictions:
    """All parts of a plan, one after the other, and the whole.

    Args:
        model, test, params, about, of_sets: as of `Plan`.
        parts: what is found here is not computed again.
        on_progress: called with the number of images done since the last call.

    Raises:
        UserError: as `Plan`.
    """
    plan = Plan(model, test, params, about, of_sets)
    found = {}
    for name, part in plan.parts.items():
        arrays = parts.load(name)
        if arrays is None:
            arrays = part.compute()
            parts.save(name, arrays)
        found[name] = arrays
        on_progress(part.images)
    return plan.assembled(found)


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
    """How many images `predict` classifies in one boundary.

    Raises:
        UserError: as `predict`.
    """
    lines = line_shifts(params.radius)
    sets = named_sets(len(labels), params.seed)
    on_all = {_name_of_set(name, shifts) for name, shifts in sets.items()}
    on_all |= {_by(dx, dy) for dx, dy in lines.tolist()} | {_by(dx, 0) for dx in FRACTIONS.tolist()}
    rows = _rows(sample(params.radius, params.shifts, params.seed), lines)
    elsewhere = sum(map(len, rows.values()))
    return len(on_all) * len(labels) + elsewhere * len(subset(labels, params.images, params.seed))


def ink_in_frame(
    images: Tensor, shifts: Shifts, boundary: BoundaryName, frame: Frame | None = None
) -> NDArray[np.int32]:
    """The raw intensity of each of M images that each of `shifts`, `(S, 2)`, leaves in the frame; `(S, M)`."""
    radius = int(np.abs(shifts.astype(int)).max())
    surrounded = surround(images, radius, boundary, frame)
    left = [window(surrounded, radius, dx, dy).sum((1, 2, 3), dtype=torch.int32) for dx, dy in shifts.tolist()]
    return torch.stack(left).cpu().numpy()


def _by(dx: float, dy: float) -> str:
    return f"shift {dx:g} {dy:g}"


def _name_of_set(name: str, shifts: Shifts) -> str:
    """Its own, or where all images are shifted alike that of the shift."""
    return _by(*shifts[0].tolist()) if (shifts == shifts[0]).all() else name


def _name_of_row(dy: int) -> str:
    return f"row {dy}"


def _rows(everywhere: Shifts, lines: Shifts) -> dict[int, list[tuple[int, int]]]:
    """The shifts of a grid that are on no line, row by row."""
    known = set(map(tuple, lines.tolist()))
    rows: dict[int, list[tuple[int, int]]] = {}
    for dx, dy in sorted(dict.fromkeys(map(tuple, everywhere.tolist())), key=itemgetter(1)):
        if (dx, dy) not in known:
            rows.setdefault(dy, []).append((dx, dy))
    return rows


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
