"""Accuracies of an experiment's models on validation images, from what MLflow and DVC hold of them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from shiftlab.data import dataset
from shiftlab.data.dataset import Examples
from shiftlab.distributed import sweep
from shiftlab.errors import UserError
from shiftlab.models import weights
from shiftlab.shifts.grids import named_set
from shiftlab.shifts.transform import shift_each
from shiftlab.tracking import history, runs
from shiftlab.tracking.store import Store
from shiftlab.training import loop


def values(
    experiment: str, model: str, seeds: Sequence[int], store: Store, data: str | None
) -> list[float] | UserError:
    """Return the accuracy, 0..1, on validation images, the mean over seeds; a UserError where MLflow has none.

    Args:
        data: name of the data set, for the accuracy on the same images as `random5` moves them, too.

    Raises:
        MissingError: DVC's cache lacks weights or data.
    """
    outputs = history.revision(sweep.reference(experiment)).outputs
    digests = [outputs(f"train@{model}-{seed}")[str(weights.path(model, seed))] for seed in seeds]
    metrics = [runs.metrics(store, digest) for digest in digests]
    accuracies = [of_seed["validation/best accuracy"] for of_seed in metrics if of_seed]
    if len(accuracies) < len(seeds):
        return UserError("MLflow lacks its trainings")
    return [fmean(accuracies), *([_shifted_accuracy(experiment, model, digests, data)] if data else [])]


def _shifted_accuracy(experiment: str, model: str, digests: Sequence[str], data: str) -> float:
    """Compute the accuracy, 0..1, on validation images as `random5` moves them, the mean over trained weights."""
    accuracies = []
    with tempfile.TemporaryDirectory() as folder:
        whole = dataset.load(checkout_data(experiment, data, Path(folder)))
        images, labels = whole.validation.images, whole.validation.labels
        moved = Examples(shift_each(images, named_set("random5", len(images), 0), "zero", whole.frame), labels)
        for digest in digests:
            path = history.checkout(digest, Path(folder, digest))
            network = weights.load(model, path, whole.shape, len(whole.classes))
            accuracies.append(loop.score(network, moved)[1])
    return fmean(accuracies)


def checkout_data(experiment: str, data: str, folder: Path) -> Path:
    """Put the file of a data set that an experiment has downloaded into a folder; return its path.

    Raises:
        MissingError: DVC's cache lacks it.
    """
    revision, path = history.revision(sweep.reference(experiment)), str(dataset.path(data))
    digest = next(outputs[path] for outputs in map(revision.outputs, revision.stages) if path in outputs)
    return history.checkout(digest, folder / "data")
