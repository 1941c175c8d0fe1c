"""One model's figures in one regime, all of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.measure import figures, intervals
from shiftlab.measure.figures import AtRadius, ClassScores, Fragility
from shiftlab.measure.intervals import Estimate, Estimates
from shiftlab.measure.predictions import About, Predictions
from shiftlab.measure.shifts import ANCHOR_RADIUS, DIRECTIONS

Curve = list[tuple[int, Estimate]]  # (step in pixels, accuracy there)


@dataclass(frozen=True)
class Figures:
    """What PROTOCOL.md, "Figures", asks of one model in one regime."""

    about: About
    images: int  # test images, for sets and curves
    grid_images: int  # of them, for maps and all that is made of them
    radius: int  # pixels
    shifts: int  # different ones of the grid, that were evaluated
    accuracies: dict[str, Estimate]  # by evaluation set
    curves: dict[str, Curve]  # by direction
    fractions: list[tuple[float, Estimate]]  # (pixels to the right, accuracy there)
    confusions: dict[str, NDArray[np.int64]]  # by evaluation set, (K, K): rows actual, columns predicted classes
    scores: dict[str, list[ClassScores]]  # by evaluation set
    maps: dict[str, Estimates]  # by figure, (D, D) each
    summary: dict[str, Estimate]  # of the grid
    radii: list[AtRadius]
    phases: Estimates  # (period, period): row dy, column dx
    fragility: list[Fragility]

    @property
    def complete(self) -> bool:
        """Was every shift of the grid evaluated?"""
        return self.shifts == (2 * self.radius + 1) ** 2


def evaluate(answers: Predictions, radius: int, phase: int) -> Figures:
    """All figures of one model's predictions; curves and maps go from -radius to radius pixels."""
    sets, labels, grid, classes = answers.sets, answers.labels, answers.grid, answers.about.classes
    on_grid = labels[grid.images]
    radii = figures.by_radius(grid, on_grid)
    within = worst_case_within(radius)
    summary = figures.over_grid(grid, on_grid)
    summary["worst_case"] = max((one for one in radii if one.radius <= within), key=lambda one: one.radius).worst_case
    return Figures(
        about=answers.about,
        images=len(labels),
        grid_images=len(on_grid),
        radius=radius,
        shifts=len(np.unique(grid.shifts, axis=0)),
        accuracies=figures.accuracies(answers),
        curves={direction: figures.curve(answers, direction, radius) for direction in DIRECTIONS},
        fractions=[
            (float(pixels), figures.accuracy(row, labels))
            for pixels, row in zip(answers.fractions, answers.on_fractions, strict=True)
        ],
        confusions={name: figures.confusion(one.predicted, labels, len(classes)) for name, one in sets.items()},
        scores={name: figures.per_class(one.predicted, labels, classes) for name, one in sets.items()},
        maps=figures.maps(grid, on_grid),
        summary=summary,
        radii=radii,
        phases=figures.phases(grid.predicted == on_grid, grid.shifts, phase),
        fragility=figures.fragility(grid, on_grid),
    )


def worst_case_within(radius: int) -> int:
    """Within how many pixels the summary's worst case is taken, of a grid of `radius`."""
    return min(ANCHOR_RADIUS, radius)


def regime_name(about: About) -> str:
    """The regime as PROTOCOL.md calls it: on a canvas, `zero` is `canvas`."""
    return "canvas" if about.regime == "zero" and about.canvas else about.regime


def over_seeds(of_seeds: list[Figures]) -> dict[str, intervals.OverSeeds]:
    """Every figure that is one number, over trainings of one model with two seeds or more."""
    values = [one.accuracies | one.summary for one in of_seeds]
    return {name: intervals.over_seeds([one[name].value for one in values]) for name in values[0]}
