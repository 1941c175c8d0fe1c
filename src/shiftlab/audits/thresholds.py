"""What a release has to hold: metrics that must not be below a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics import registry
from shiftlab.metrics.evaluation import Metrics


@dataclass(frozen=True)
class Threshold:
    """The least that a metric has to be, in one boundary or in all."""

    metric: str
    least: float
    boundary: str | None = None

    def __str__(self) -> str:
        return f"{f'{self.boundary}.' if self.boundary else ''}{self.metric}={self.least:g}"


@dataclass(frozen=True)
class Outcome:
    """What came of a threshold in one boundary."""

    threshold: str
    boundary: str
    metric: str
    least: float
    value: float
    held: bool


def parse(texts: Sequence[str], boundaries: Sequence[str], radius: int, labelled: bool) -> list[Threshold]:
    """Return thresholds as a user writes them: `consistency=0.95`, or `zero.right5=0.9`.

    Args:
        boundaries: those that are measured.
        radius: of the grid, in pixels, which the keys of some metrics name.
        labelled: do the images have labels?

    Raises:
        UserError: no such metric or boundary, or one that needs labels; not a proportion between 0 and 1.
    """
    proportions = {key: metric for key, metric in registry.metrics(radius).items() if metric.unit == "%"}
    known = [key for key, metric in proportions.items() if labelled or not metric.needs_labels]
    thresholds = []
    for text in texts:
        name, _, number = text.partition("=")
        boundary, dot, metric = name.rpartition(".")
        try:
            least = float(number)
        except ValueError:
            least = float("nan")
        if not 0 <= least <= 1:
            raise UserError(f"the threshold {text!r} is no share: write METRIC=0.95, between 0 and 1")
        if metric not in known:
            if (renamed := registry.renamed(metric, radius)) in known:
                raise UserError(
                    f"the threshold {text!r} is on {metric}, which is called {renamed} now: write {renamed}"
                )
            raise UserError(f"the threshold {text!r} is on an unknown metric: choose of {', '.join(known)}")
        if dot and boundary not in boundaries:
            raise UserError(
                f"the threshold {text!r} is on a boundary that is not measured: choose of {', '.join(boundaries)}"
            )
        thresholds.append(Threshold(metric, least, boundary or None))
    return thresholds


def hold(thresholds: Sequence[Threshold], metrics: Mapping[BoundaryName, Metrics]) -> list[Outcome]:
    """Return what came of each, in every boundary that it is on. A metric that is undefined does not hold."""
    outcomes = []
    for threshold in thresholds:
        for boundary, of_boundary in metrics.items():
            if threshold.boundary in (None, boundary):
                value = of_boundary.estimates[threshold.metric].value
                held = value >= threshold.least
                outcomes.append(Outcome(str(threshold), boundary, threshold.metric, threshold.least, value, held))
    return outcomes
