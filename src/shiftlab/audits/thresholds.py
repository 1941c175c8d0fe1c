"""What a release has to hold: metrics that must not be below a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics.evaluation import Metrics
from shiftlab.shifts.grids import NAMED_SETS

OVER_GRID = (
    "grid",
    "consistency",
    "corrected_consistency",
    "consistency_by_chance",
    "pairwise_accuracy",
    "agreement",
    "robust_accuracy",
)
OF_UNLABELLED = ("consistency", "agreement")  # what needs no labels


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


def parse(texts: Sequence[str], boundaries: Sequence[str], labelled: bool) -> list[Threshold]:
    """Thresholds as a user writes them: `consistency=0.95`, or `zero.right5=0.9`.

    Raises:
        UserError: no such metric or boundary, or one that needs labels; not a share between 0 and 1.
    """
    known = (*NAMED_SETS, *OVER_GRID) if labelled else OF_UNLABELLED
    found = []
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
            raise UserError(f"the threshold {text!r} is on an unknown metric: choose of {', '.join(known)}")
        if dot and boundary not in boundaries:
            raise UserError(
                f"the threshold {text!r} is on a boundary that is not measured: choose of {', '.join(boundaries)}"
            )
        found.append(Threshold(metric, least, boundary or None))
    return found


def hold(thresholds: Sequence[Threshold], found: Mapping[BoundaryName, Metrics]) -> list[Outcome]:
    """What came of each, in every boundary that it is on. A metric that is undefined does not hold."""
    outcomes = []
    for one in thresholds:
        for boundary, metrics in found.items():
            if one.boundary in (None, boundary):
                value = (metrics.accuracies | metrics.summary)[one.metric].value
                outcomes.append(Outcome(str(one), boundary, one.metric, one.least, value, value >= one.least))
    return outcomes
