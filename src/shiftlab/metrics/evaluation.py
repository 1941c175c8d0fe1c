"""All of one model's metrics, curves and maps in one boundary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import curves, intervals, maps, nearest_failing_shift, radii, registry, stride_phase
from shiftlab.metrics.class_scores import ClassScores, class_scores, confusion_matrix
from shiftlab.metrics.curves import Curve
from shiftlab.metrics.intervals import Estimate, Estimates, Statistic
from shiftlab.metrics.nearest_failing_shift import ImageRobustness
from shiftlab.metrics.radii import AtRadius
from shiftlab.shifts.grids import ANCHOR_RADIUS, DIRECTIONS
from shiftlab.shifts.predictions import PredictionMetadata, Predictions


@dataclass(frozen=True)
class Metrics:
    """What PROTOCOL.md, "Metrics", asks of one model in one boundary."""

    metadata: PredictionMetadata
    images: int  # test images, for the named sets
    grid_images: int  # of them, for maps, curves and all that is over shifts
    radius: int  # pixels
    shifts: int  # different ones of the grid, that were evaluated
    statistics: dict[str, Statistic]  # by the metric's key
    estimates: dict[str, Estimate]  # the same, with 95% intervals
    curves: dict[str, Curve]  # by direction
    fractions: list[tuple[float, Estimate]]  # (pixels to the right, accuracy there)
    confusion_matrices: dict[str, NDArray[np.int64]]  # by named set, (K, K): rows actual, columns predicted classes
    class_scores: dict[str, list[ClassScores]]  # by named set
    maps: dict[str, Estimates]  # by name, (D, D) each
    radii: list[AtRadius]
    phases: Estimates  # (period, period): row dy, column dx
    nearest_failing_shifts: list[ImageRobustness]  # of images right unshifted, the least robust first

    @property
    def complete(self) -> bool:
        """Was every shift of the grid evaluated?"""
        return self.shifts == (2 * self.radius + 1) ** 2


def evaluate(predictions: Predictions, radius: int, phase: int, labelled: bool = True) -> Metrics:
    """Compute all metrics of one model's predictions.

    Args:
        radius: pixels, of the curves and the grid.
        phase: pixels, the period of the stride phases.
        labelled: are the labels true? Else the metrics that need them are left out of `statistics`.
    """
    sets, labels, grid, classes = predictions.sets, predictions.labels, predictions.grid, predictions.about.classes
    statistics = registry.measure(predictions, radius, labelled)
    return Metrics(
        metadata=predictions.about,
        images=len(labels),
        grid_images=len(grid.images),
        radius=radius,
        shifts=len(np.unique(grid.shifts, axis=0)),
        statistics=statistics,
        estimates={key: statistic.estimate for key, statistic in statistics.items()},
        curves={direction: curves.along(predictions, direction, radius) for direction in DIRECTIONS},
        fractions=curves.of_fractions(predictions),
        confusion_matrices={name: confusion_matrix(one.predicted, labels, len(classes)) for name, one in sets.items()},
        class_scores={name: class_scores(one.predicted, labels, classes) for name, one in sets.items()},
        maps=maps.maps(grid, predictions.grid_labels),
        radii=radii.by_radius(grid, predictions.grid_labels),
        phases=stride_phase.phases(grid.predicted == predictions.grid_labels, grid.shifts, phase),
        nearest_failing_shifts=nearest_failing_shift.nearest_failing_shifts(grid, predictions.grid_labels),
    )


def robust_accuracy_within(radius: int) -> int:
    """Return the radius in pixels that the robust accuracy of a grid of `radius` names."""
    return min(ANCHOR_RADIUS, radius)


def boundary_name(metadata: PredictionMetadata) -> str:
    """Return the boundary as PROTOCOL.md calls it: on a canvas, `zero` is `canvas`."""
    return "canvas" if metadata.boundary == "zero" and metadata.canvas else metadata.boundary


def over_seeds(seeds: list[Metrics]) -> dict[str, intervals.OverSeeds]:
    """Return every metric over trainings of one model with two seeds or more, by key."""
    values = [metrics.estimates for metrics in seeds]
    return {key: intervals.over_seeds([estimates[key].value for estimates in values]) for key in values[0]}
