"""One model's metrics in one boundary, all of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics import intervals, metrics
from shiftlab.metrics.intervals import Estimate, Estimates
from shiftlab.metrics.metrics import AtRadius, ClassScores, ImageRobustness
from shiftlab.shifts.grids import ANCHOR_RADIUS, DIRECTIONS
from shiftlab.shifts.predictions import PredictionMetadata, Predictions

Curve = list[tuple[int, Estimate]]  # (step in pixels, accuracy there)


@dataclass(frozen=True)
class Metrics:
    """What PROTOCOL.md, "Metrics", asks of one model in one boundary."""

    about: PredictionMetadata
    images: int  # test images, for sets and curves
    grid_images: int  # of them, for maps and all that is made of them
    radius: int  # pixels
    shifts: int  # different ones of the grid, that were evaluated
    accuracies: dict[str, Estimate]  # by evaluation set
    curves: dict[str, Curve]  # by direction
    fractions: list[tuple[float, Estimate]]  # (pixels to the right, accuracy there)
    confusions: dict[str, NDArray[np.int64]]  # by evaluation set, (K, K): rows actual, columns predicted classes
    scores: dict[str, list[ClassScores]]  # by evaluation set
    maps: dict[str, Estimates]  # by metric, (D, D) each
    summary: dict[str, Estimate]  # of the grid
    radii: list[AtRadius]
    phases: Estimates  # (period, period): row dy, column dx
    fragility: list[ImageRobustness]

    @property
    def complete(self) -> bool:
        """Was every shift of the grid evaluated?"""
        return self.shifts == (2 * self.radius + 1) ** 2


def evaluate(answers: Predictions, radius: int, phase: int) -> Metrics:
    """All metrics of one model's predictions; curves and maps go from -radius to radius pixels."""
    sets, labels, grid, classes = answers.sets, answers.labels, answers.grid, answers.about.classes
    on_grid = labels[grid.images]
    radii = metrics.by_radius(grid, on_grid)
    within = robust_accuracy_within(radius)
    summary = metrics.over_grid(grid, on_grid)
    summary["robust_accuracy"] = max(
        (one for one in radii if one.radius <= within), key=lambda one: one.radius
    ).robust_accuracy
    return Metrics(
        about=answers.about,
        images=len(labels),
        grid_images=len(on_grid),
        radius=radius,
        shifts=len(np.unique(grid.shifts, axis=0)),
        accuracies=metrics.accuracies(answers),
        curves={direction: metrics.curve(answers, direction, radius) for direction in DIRECTIONS},
        fractions=[
            (float(pixels), metrics.accuracy(row, labels))
            for pixels, row in zip(answers.fractions, answers.on_fractions, strict=True)
        ],
        confusions={name: metrics.confusion(one.predicted, labels, len(classes)) for name, one in sets.items()},
        scores={name: metrics.per_class(one.predicted, labels, classes) for name, one in sets.items()},
        maps=metrics.maps(grid, on_grid),
        summary=summary,
        radii=radii,
        phases=metrics.phases(grid.predicted == on_grid, grid.shifts, phase),
        fragility=metrics.fragility(grid, on_grid),
    )


def robust_accuracy_within(radius: int) -> int:
    """Within how many pixels the summary's robust accuracy is taken, of a grid of `radius`."""
    return min(ANCHOR_RADIUS, radius)


def boundary_name(about: PredictionMetadata) -> str:
    """The boundary as PROTOCOL.md calls it: on a canvas, `zero` is `canvas`."""
    return "canvas" if about.boundary == "zero" and about.canvas else about.boundary


def over_seeds(of_seeds: list[Metrics]) -> dict[str, intervals.OverSeeds]:
    """Every metric that is one number, over trainings of one model with two seeds or more."""
    values = [one.accuracies | one.summary for one in of_seeds]
    return {name: intervals.over_seeds([one[name].value for one in values]) for name in values[0]}
