"""One training of one variant, and what it predicts of the test images under the study's shifts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from shiftlab.config.params import BoundaryName, Evaluation, Study, Variant
from shiftlab.data.canvas import place_on_canvas
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.models import architectures
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.inference import InMemory
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation
from shiftlab.training import loop


def run(
    variant: Variant,
    dataset: Dataset,
    study: Study,
    metadata: PredictionMetadata,
    seed: int,
    device: torch.device,
    on_progress: Callable[[int], object] = lambda _: None,
) -> tuple[float, dict[BoundaryName, Predictions]]:
    """Train a variant, and return its best validation accuracy and its predictions in every boundary mode.

    Args:
        dataset: as the variant sees it, of `on_canvas`.
        metadata: what the predictions are of, in any boundary mode.
        on_progress: called with the number of images learned from or predicted since the last call.

    Raises:
        UserError: the test set has fewer images than the study asks for; the variant can't learn from such images.
    """
    model, accuracy = _train(variant, dataset, seed, device, on_progress)
    images, labels = InMemory(dataset.test.images, dataset.frame), dataset.test.labels.numpy()
    protocol, execute = evaluation(dataset, study), inference.local(model, device)
    predictions = {}
    for boundary in boundaries(variant):
        of_boundary = replace(metadata, boundary=boundary)
        predictions[boundary] = predict_evaluation(images, labels, of_boundary, protocol, execute, None, on_progress)
    return accuracy, predictions


def _train(
    variant: Variant, dataset: Dataset, seed: int, device: torch.device, on_progress: Callable[[int], object]
) -> tuple[nn.Module, float]:
    """Return a variant's network, in evaluation mode, and its validation accuracy.

    A seed gives every variant the same order of the same images, whatever its first weights took from the generator.
    """
    torch.manual_seed(seed)
    model = architectures.build(variant.architecture, dataset.shape, len(dataset.classes), variant.components)
    torch.manual_seed(seed)
    recipe, training, augmentation = variant.recipe, variant.training, variant.augmentation
    *_, last = loop.fit(
        model, dataset, recipe, training, device, None, lambda images, _: on_progress(images), augmentation
    )
    model.load_state_dict(last.best)
    return fuse(model.eval(), dataset.shape), max(epoch.validation_accuracy for epoch in last.history)


def count(dataset: Dataset, variant: Variant, study: Study) -> int:
    """Return how many images a trial learns from and predicts."""
    images, labels = len(dataset.test), dataset.test.labels.numpy()
    plan = plan_evaluation(images, labels, "zero", dataset.shape, evaluation(dataset, study))
    return variant.epochs * len(dataset.train) + len(boundaries(variant)) * plan.passes(images)


def evaluation(dataset: Dataset, study: Study) -> Evaluation:
    """Return how far and how a study shifts images: on a canvas at most as far as no ink is lost."""
    radius = min(study.radius, _margin(dataset.test)) if dataset.canvas else study.radius
    images, shifts, seed = study.images, study.shifts, study.seed
    return Evaluation(radius=radius, boundaries=["zero"], images=images, shifts=shifts, phase=1, seed=seed)


def boundaries(variant: Variant) -> tuple[BoundaryName, ...]:
    """Return the boundary modes that a variant predicts in; on a canvas nothing wraps round."""
    return ("zero",) if variant.canvas else ("zero", "circular")


def on_canvas(dataset: Dataset, variant: Variant) -> Dataset:
    """Return the data as a variant sees it: in the middle of its canvas, where it has one."""
    if (size := variant.canvas) is None:
        return dataset
    train, validation, test = (
        place_on_canvas(part, size) for part in (dataset.train, dataset.validation, dataset.test)
    )
    return replace(dataset, train=train, validation=validation, test=test, frame=(size, size), canvas=True)


def _margin(examples: Examples) -> int:
    """Return how many pixels of the canvas no image reaches, on the side where they are fewest."""
    inked = examples.images.amax(dim=(0, 1)) > 0
    rows, columns = torch.where(inked.any(1))[0], torch.where(inked.any(0))[0]
    height, width = inked.shape
    return int(min(rows[0], columns[0], height - 1 - rows[-1], width - 1 - columns[-1]))
