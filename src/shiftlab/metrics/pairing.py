"""Two models on the same images and shifts: by how much their metrics differ, and how sure that is."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import sampling
from shiftlab.metrics.intervals import RESAMPLES, Floats, drawn, holm
from shiftlab.metrics.metrics import consistency, pairwise_accuracy
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.predictions import GridPredictions

METRICS = ("grid", "consistency", "pairwise_accuracy")


@dataclass(frozen=True)
class Paired:
    """A difference between two models, from the same resamples of images (and of shifts, where they were drawn)."""

    metric: str
    first: str
    second: str
    by: float  # the first's metric less the second's
    low: float  # 95% percentile bootstrap interval
    high: float
    p: float  # two-sided, of the bootstrap: at least two in RESAMPLES
    corrected: float  # after Holm's correction over all that was asked for


def differences(models: dict[str, GridPredictions], labels: NDArray[np.unsignedinteger]) -> list[Paired]:
    """Every pair of models in every metric of the grid; labels `(M,)` are those of its images."""
    found = []
    resampled = {name: _resampled(grid, labels) for name, grid in models.items()}
    names = list(models)
    for metric in METRICS:
        for place, first in enumerate(names):
            for second in names[place + 1 :]:
                (value, values), (other, others) = resampled[first][metric], resampled[second][metric]
                found.append(_one(metric, first, second, value - other, values - others))
    return [replace(one, corrected=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def _one(metric: str, first: str, second: str, by: float, resampled: Floats) -> Paired:
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    beyond = min((resampled <= 0).mean(), (resampled >= 0).mean())
    p = 1.0 if by == 0 and low == high else min(1.0, 2 * max(float(beyond), 1 / RESAMPLES))
    return Paired(metric, first, second, by, low, high, p, corrected=1.0)


def _resampled(grid: GridPredictions, labels: NDArray[np.unsignedinteger]) -> dict[str, tuple[float, Floats]]:
    """Each metric, and the same in each resample, `(RESAMPLES,)`, which are the same for all models."""
    design, right = Design.of(grid.shifts), grid.predicted == labels
    if design.complete:
        of_images = {
            "grid": right.mean(axis=0),
            "consistency": consistency(grid.predicted),
            "pairwise_accuracy": pairwise_accuracy(right),
        }
        times = drawn(len(labels)) / len(labels)
        return {name: (float(values.mean()), values @ times) for name, values in of_images.items()}
    weights = design.weights[:, np.newaxis] + design.resampled()
    over_both = (weights * (right.astype(np.float64) @ drawn(len(labels)))).sum(axis=0)
    accuracy = float(design.weights @ right.mean(axis=1) / design.weights.sum())
    called = (grid.predicted == answer for answer in np.unique(grid.predicted))
    return {
        "grid": (accuracy, over_both / (len(labels) * weights.sum(axis=0))),
        "consistency": sampling.share_of_pairs(called, design),
        "pairwise_accuracy": sampling.share_of_pairs([right], design),
    }
