"""One training of one variant, and what it calls the test images under the study's shifts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shiftlab.config.params import BoundaryName, Study, Variant
from shiftlab.data import canvas
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.models import architectures
from shiftlab.models.fast import fuse
from shiftlab.shifts.boundaries import shift_each, surround, window
from shiftlab.shifts.grids import Shifts, named_set, sample, subset
from shiftlab.shifts.inference import probabilities
from shiftlab.shifts.predictions import answer_type
from shiftlab.study.answers import Answers
from shiftlab.training import loop

SETS = ("clean", "right4", "right5", "random5")


def run(
    variant: Variant,
    dataset: Dataset,
    study: Study,
    seed: int,
    device: torch.device,
    on_progress: Callable[[int], object] = lambda _: None,
) -> dict[BoundaryName, Answers]:
    """Train a variant and have it answer, in every boundary.

    Args:
        dataset: as the variant sees it, of `laid`.
        on_progress: called with the number of images learned from or classified since the last call.

    Raises:
        UserError: the test set has fewer images than the study asks for; the variant can't learn from such images.
    """
    model, accuracy = _train(variant, dataset, seed, device, on_progress)
    test = dataset.test.to(device)
    return {
        boundary: _answer(model, test, accuracy, boundary, reach(dataset, study), study, on_progress)
        for boundary in boundaries(variant)
    }


def _train(
    variant: Variant, dataset: Dataset, seed: int, device: torch.device, on_progress: Callable[[int], object]
) -> tuple[nn.Module, float]:
    """A variant's network, in evaluation mode, and its validation accuracy.

    A seed gives every variant the same order of the same images, whatever its first weights took from the generator.
    """
    torch.manual_seed(seed)
    model = architectures.build(variant.architecture, dataset.shape, len(dataset.classes), variant.components)
    torch.manual_seed(seed)
    *_, last = loop.fit(
        model,
        dataset,
        variant.recipe,
        variant.training,
        device,
        on_progress=lambda seen, _: on_progress(seen),
        augmentation=variant.augmentation,
    )
    model.load_state_dict(last.best)
    return fuse(model.eval(), dataset.shape), max(epoch.validation_accuracy for epoch in last.history)


def _answer(
    model: nn.Module,
    test: Examples,
    accuracy: float,
    boundary: BoundaryName,
    radius: int,
    study: Study,
    on_progress: Callable[[int], object],
) -> Answers:
    """What `model` calls the test images: on the named sets, by distance, on a sample of the grid."""
    classes = model(test.images[:1]).shape[1]
    labels = test.labels.cpu().numpy().astype(answer_type(classes))
    chosen = subset(labels, study.images, study.seed)

    def called(images: Tensor) -> NDArray[np.unsignedinteger]:
        found: NDArray[np.unsignedinteger] = probabilities(model, images).argmax(1).cpu().numpy().astype(labels.dtype)
        on_progress(len(found))
        return found

    surrounded = surround(test.images[chosen], radius, boundary)

    def on_each(shifts: Shifts) -> NDArray[np.unsignedinteger]:
        return np.stack([called(window(surrounded, radius, dx, dy)) for dx, dy in shifts.tolist()])

    distances, grid = along_axes(radius), sample(radius, study.shifts, study.seed)
    return Answers(
        validation=np.array(accuracy),
        labels=labels,
        sets={name: called(shift_each(test.images, named_set(name, len(test), study.seed), boundary)) for name in SETS},
        images=chosen,
        grid_shifts=grid,
        on_grid=on_each(grid),
        axis_shifts=distances,
        on_axes=on_each(distances),
    )


def count(dataset: Dataset, variant: Variant, study: Study) -> int:
    """How many images a trial learns from and classifies."""
    learned = variant.epochs * len(dataset.train)
    radius = reach(dataset, study)
    few = len(along_axes(radius)) + len(sample(radius, study.shifts, study.seed))
    return learned + len(boundaries(variant)) * (len(SETS) * len(dataset.test) + few * study.images)


def boundaries(variant: Variant) -> tuple[BoundaryName, ...]:
    """Those that a variant answers in; on a canvas nothing wraps round."""
    return ("zero",) if variant.canvas else ("zero", "circular")


def laid(dataset: Dataset, variant: Variant) -> Dataset:
    """The data as a variant sees it: in the middle of its canvas, where it has one."""
    if variant.canvas is None:
        return dataset
    size = variant.canvas
    parts = (dataset.train, dataset.validation, dataset.test)
    train, validation, test = (canvas.place_on_canvas(part, size) for part in parts)
    return replace(dataset, train=train, validation=validation, test=test, frame=(size, size), canvas=True)


def reach(dataset: Dataset, study: Study) -> int:
    """Pixels of the largest shift: the study's radius, on a canvas at most what loses no ink."""
    return min(study.radius, _margin(dataset.test)) if dataset.canvas else study.radius


def along_axes(radius: int) -> Shifts:
    """No shift, then those by 1 to `radius` pixels to the right, the left, down and up, `(1 + 4 radius, 2)`."""
    steps = [
        (dx * pixels, dy * pixels) for pixels in range(1, radius + 1) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    return np.array([(0, 0), *steps], dtype=np.int8)


def _margin(examples: Examples) -> int:
    """How many pixels of the canvas no image reaches, on the side where they are fewest."""
    inked = examples.images.amax(dim=(0, 1)) > 0
    rows, columns = torch.where(inked.any(1))[0], torch.where(inked.any(0))[0]
    height, width = inked.shape
    return int(min(rows[0], columns[0], height - 1 - rows[-1], width - 1 - columns[-1]))
