"""All of a model's metrics, curves and maps in a boundary mode."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import curves, maps, nearest_failing_shift, radii, registry, stride_phase
from shiftlab.metrics.class_scores import ClassScores, class_scores, confusion_matrix
from shiftlab.metrics.curves import Curve
from shiftlab.metrics.intervals import Estimate, Estimates, Statistic
from shiftlab.metrics.nearest_failing_shift import ImageRobustness
from shiftlab.metrics.radii import AtRadius
from shiftlab.shifts.grids import DIRECTIONS
from shiftlab.shifts.predictions import PredictionMetadata, Predictions


@dataclass(frozen=True)
class Metrics:
    """The metrics of PROTOCOL.md, of a model in a boundary mode."""

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
    """Compute all metrics of a model's predictions, with curves of that radius and stride phases of that period.

    Both are in pixels. Where the labels are not true, `statistics` are without the metrics that need them.
    """
    labels, grid, classes = predictions.labels, predictions.grid, predictions.metadata.classes
    grid_labels, sets = predictions.grid_labels, predictions.sets.items()
    statistics = registry.measure(predictions, radius, labelled)
    return Metrics(
        metadata=predictions.metadata,
        images=len(labels),
        grid_images=len(grid.images),
        radius=radius,
        shifts=len(np.unique(grid.shifts, axis=0)),
        statistics=statistics,
        estimates={key: statistic.estimate for key, statistic in statistics.items()},
        curves={direction: curves.along(predictions, direction, radius) for direction in DIRECTIONS},
        fractions=curves.of_fractions(predictions),
        confusion_matrices={name: confusion_matrix(on_set.predicted, labels, len(classes)) for name, on_set in sets},
        class_scores={name: class_scores(on_set.predicted, labels, classes) for name, on_set in sets},
        maps=maps.maps(grid, grid_labels),
        radii=radii.by_radius(grid, grid_labels),
        phases=stride_phase.phases(grid.predicted == grid_labels, grid.shifts, phase),
        nearest_failing_shifts=nearest_failing_shift.nearest_failing_shifts(grid, grid_labels),
    )


def boundary_name(metadata: PredictionMetadata) -> str:
    """Return the boundary as PROTOCOL.md calls it: on a canvas, `zero` is `canvas`."""
    return "canvas" if metadata.boundary == "zero" and metadata.canvas else metadata.boundary
