"""Forward passes: the one way to have images predicted under shifts, in this process or wherever an executor runs.

Images are cut into tasks of neighbouring ones. A task is predicted under all of its shifts at once, anywhere, in any
order; the same task gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from shiftlab.data.dataset import center_crop
from shiftlab.shifts import boundaries
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import label_type
from shiftlab.shifts.store import Arrays, Store
from shiftlab.shifts.transform import crop_at, crop_each

# Images in a forward pass: on a CPU what its caches hold, elsewhere enough to keep it busy. No metric depends on it.
CPU_BATCH, ACCELERATOR_BATCH = 250, 10_000
TASK_VALUES = 10_000_000  # pixels' values in memory at a time, times a small number
MOST_IN_TASK = 250  # images

CPU = torch.device("cpu")
Shift = tuple[float, int]  # dx pixels to the right, dy down
Progress = Callable[[int], object]  # is told the number of images predicted since the last call


class Images(Protocol):
    """A source of images that streams."""

    def __len__(self) -> int: ...
    def chunks(self, margin: int, size: int, first: int) -> Iterator[Tensor]:
        """Yield the images from `first` on, raw, uint8 `(n, C, h + 2 margin, w + 2 margin)`, at most `size` at once."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Images in memory, `(N, C, H, W)`, of which models see the middle, `frame`."""

    images: Tensor
    frame: tuple[int, int]

    def __len__(self) -> int:
        return len(self.images)

    def chunks(self, margin: int, size: int, first: int) -> Iterator[Tensor]:
        """Yield as `Images`."""
        height, width = self.frame
        yield from center_crop(self.images[first:], (height + 2 * margin, width + 2 * margin)).split(size)


@dataclass(frozen=True, eq=False)
class Plan:
    """Under which shifts N images are predicted, in one boundary mode."""

    boundary: str
    shape: tuple[int, int, int]  # of what a model sees of an image: channels, height, width
    sets: Mapping[str, Shifts]  # by name, a shift for each image, (N, 2)
    subset: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # (M,): images of the next, sorted
    shifts: NDArray[np.floating | np.integer] = field(default_factory=lambda: np.zeros((0, 2)))  # (S, 2), distinct
    # Pixels on each side at least: shifts drawn by chance are not to decide which images are too small.
    padding: int = 0
    of_logits: bool = False  # are distances those of logits, whose unshifted ones are kept too, or of probabilities?

    @cached_property
    def common(self) -> dict[str, Shift]:
        """Return the shift of each set that moves all images alike."""
        alike = {name: shifts for name, shifts in self.sets.items() if len(shifts) and (shifts == shifts[0]).all()}
        return {name: _to_shift(shifts[0]) for name, shifts in alike.items()}

    @cached_property
    def whole(self) -> list[Shift]:
        """Return the distinct shifts under which all images are predicted; none of 0 pixels where nobody needs it."""
        unshifted = [(0.0, 0)] if len(self.shifts) else []
        return list(dict.fromkeys([*unshifted, *self.common.values()]))

    @cached_property
    def partial(self) -> list[Shift]:
        """Return the shifts under which the subset alone is predicted."""
        return [shift for shift in map(_to_shift, self.shifts) if shift not in self.whole]

    @cached_property
    def max_shift(self) -> int:
        """Return the pixels that padding has to have on each side."""
        largest = [np.abs(shifts.astype(float)).max() for shifts in (self.shifts, *self.sets.values()) if len(shifts)]
        return int(np.ceil(max([self.padding, *largest])))

    @property
    def margin(self) -> int:
        """Return the pixels of larger images around the frame that come into sight."""
        return boundaries.get(self.boundary).margin(self.max_shift)

    @property
    def task_size(self) -> int:
        """Return how many images are in memory at a time."""
        channels, height, width = self.shape
        values = channels * (height + 2 * self.margin) * (width + 2 * self.margin)
        return max(1, min(MOST_IN_TASK, TASK_VALUES // values))

    def passes(self, images: int) -> int:
        """Return how many images a model classifies, for so many images, of which the plan's subset is a part."""
        on_each = len(self.whole) + len(self.sets) - len(self.common)
        return images * on_each + len(self.subset) * len(self.partial)

    def part(self, first: int, last: int) -> Plan:
        """Return the plan of the images from `first` to before `last`."""
        inside = self.subset[(self.subset >= first) & (self.subset < last)] - first
        sets = {name: shifts[first:last] for name, shifts in self.sets.items()}
        part = replace(self, sets=sets, subset=inside)
        # What few images happen to have in common is not what all have, and padding is that of all.
        part.__dict__.update(common=self.common, partial=self.partial, max_shift=self.max_shift)
        return part


@dataclass(frozen=True, eq=False)
class Task:
    """Some neighbouring images of a plan."""

    number: int
    plan: Plan  # of these images alone
    images: NDArray[np.uint8]  # (n, C, h + 2 margin, w + 2 margin), raw


# Predicts tasks, in whatever order: each one's number, and its arrays.
Executor = Callable[[Iterator[Task], Progress], Iterable[tuple[int, Arrays]]]


def local(model: nn.Module, device: torch.device = CPU) -> Executor:
    """Return the executor that predicts in this process, one task after the other, with a model on `device`."""

    def execute(tasks: Iterator[Task], on_progress: Progress) -> Iterator[tuple[int, Arrays]]:
        for task in tasks:
            yield task.number, predict_task(model, task, device, on_progress)

    return execute


def predict(
    images: Images, plan: Plan, execute: Executor, store: Store | None = None, on_progress: Progress = lambda _: None
) -> Arrays:
    """Predict images under all shifts of a plan.

    Args:
        store: tasks that are in it are not computed again.

    Returns:
        For each set NAME, "NAME.predicted" and "NAME.confidence", `(N,)`. If there are shifts: "predicted",
        "confidence", "euclidean", "cosine" and "ink", `(S, M)`; if of logits, "scores", `(N, classes)`, unshifted.

    Raises:
        UserError: an image can't be read; the model fails.
    """
    margin, size = plan.margin, plan.task_size
    ranges = [(first, min(first + size, len(images))) for first in range(0, len(images), size)]
    results: dict[int, Arrays] = {}
    for number, (first, last) in enumerate(ranges):
        if store and (arrays := store.load(f"{number}")) is not None:
            results[number] = arrays
            on_progress(plan.part(first, last).passes(last - first))
    missing = [number for number in range(len(ranges)) if number not in results]

    def tasks() -> Iterator[Task]:
        for number, raw in enumerate(images.chunks(margin, size, missing[0] * size), start=missing[0]):
            if number in missing:
                yield Task(number, plan.part(*ranges[number]), raw.cpu().numpy())

    for number, arrays in execute(tasks(), on_progress) if missing else ():
        if store:
            store.save(f"{number}", arrays)
        results[number] = arrays
    by_shift = ("predicted", "confidence", "euclidean", "cosine", "ink")  # whose second axis is that of images
    arrays_in_order = [results[number] for number in range(len(ranges))]
    return {
        key: np.concatenate([arrays[key] for arrays in arrays_in_order], axis=int(key in by_shift))
        for key in results[0]
    }


def predict_task(
    model: nn.Module, task: Task, device: torch.device = CPU, on_progress: Progress = lambda _: None
) -> Arrays:
    """Predict the images of a task, as `predict`."""
    plan, max_shift = task.plan, task.plan.max_shift
    padded = boundaries.get(plan.boundary).pad(torch.from_numpy(task.images).to(device), max_shift, plan.shape[1:])

    def outputs(moved: Tensor) -> Tensor:
        result = logits(model, moved) if plan.of_logits else probabilities(model, moved)
        on_progress(len(moved))
        return result

    of_all = {shift: outputs(crop_at(padded, max_shift, *shift)) for shift in plan.whole}
    arrays: Arrays = {}
    for name, of_images in plan.sets.items():
        shared = plan.common.get(name)
        of_set = outputs(crop_each(padded, max_shift, of_images)) if shared is None else of_all[shared]
        arrays |= {f"{name}.{key}": value for key, value in _labels(of_set).items()}
    if len(plan.shifts) == 0:
        return arrays
    if plan.of_logits:
        arrays["scores"] = of_all[0.0, 0].cpu().numpy()
    subset = plan.subset.tolist()
    padded_subset = padded[subset]
    of_subset = {shift: outputs_of_all[subset] for shift, outputs_of_all in of_all.items()}
    unshifted = of_subset[0.0, 0]
    if subset:
        at_once = max(1, batch_size(device) // len(subset))
        for first in range(0, len(plan.partial), at_once):
            batch = plan.partial[first : first + at_once]
            moved = torch.cat([crop_at(padded_subset, max_shift, *shift) for shift in batch])
            of_subset |= dict(zip(batch, outputs(moved).unflatten(0, (len(batch), len(subset))), strict=True))
    else:  # a model need not take a batch of no images
        of_subset |= dict.fromkeys(plan.partial, unshifted)
    shifts = list(map(_to_shift, plan.shifts))
    labels = [_labels(of_subset[shift]) for shift in shifts]
    arrays |= {key: np.stack([row[key] for row in labels]) for key in labels[0]}
    rows = {
        "euclidean": [(of_subset[shift] - unshifted).norm(dim=-1) for shift in shifts],
        "cosine": [_cosine_distance(of_subset[shift], unshifted) for shift in shifts],
        "ink": [crop_at(padded_subset, max_shift, *shift).sum((1, 2, 3)).to(torch.int32) for shift in shifts],
    }
    return arrays | {key: torch.stack(of_key).cpu().numpy() for key, of_key in rows.items()}


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return a model's outputs, float32 `(N, classes)`, for raw images `(N, C, h, w)`."""
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in images.split(batch_size(images.device))])


def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """Return the class probabilities, float32 `(N, classes)`, of raw images `(N, C, h, w)`."""
    return logits(model, images).softmax(1)


def batch_size(device: torch.device) -> int:
    """Return how many images a forward pass there takes."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def _to_shift(shift: NDArray[Any]) -> Shift:
    dx, dy = shift.tolist()
    return float(dx), int(dy)


def _labels(outputs: Tensor) -> Arrays:
    confidence, predicted = outputs.max(-1)
    labels = predicted.cpu().numpy().astype(label_type(outputs.shape[-1]))
    return {"predicted": labels, "confidence": confidence.cpu().numpy()}


def _cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    return (1 - cosine_similarity(first.double(), second.double(), dim=-1)).float()
