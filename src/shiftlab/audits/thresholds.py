"""What a release has to hold: metrics that must not be below a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics import registry
from shiftlab.metrics.evaluation import Metrics


@dataclass(frozen=True)
class Threshold:
    """The least that a metric has to be in a boundary."""

    threshold: str  # METRIC=SHARE, or BOUNDARY.METRIC=SHARE
    boundary: BoundaryName
    metric: str
    least: float


@dataclass(frozen=True)
class Outcome(Threshold):
    """What came of a threshold."""

    value: float
    passed: bool


def parse(texts: Sequence[str], boundaries: Sequence[BoundaryName], radius: int, labelled: bool) -> list[Threshold]:
    """Return thresholds as a user writes them, `consistency=0.95` for all boundaries, or `zero.right5=0.9` for one.

    Args:
        boundaries: those that are measured.
        radius: of the grid, in pixels, which the keys of some metrics name.
        labelled: do the images have labels?
    """
    metrics = registry.metrics(radius).items()
    known = [key for key, metric in metrics if metric.unit == "%" and (labelled or not metric.needs_labels)]
    thresholds = []
    for text in texts:
        name, _, number = (part.strip() for part in text.partition("="))
        boundary, _, metric = name.rpartition(".")
        try:
            least = float(number)
        except ValueError:
            least = float("nan")
        if not 0 <= least <= 1:
            raise UserError(f"the threshold {text!r} is no share: write METRIC=0.95, between 0 and 1")
        renamed = registry.renamed(metric, radius)
        if metric not in known and renamed in known:
            raise UserError(f"the threshold {text!r} is on {metric}, which is called {renamed} now: write {renamed}")
        if metric not in known:
            raise UserError(f"the threshold {text!r} is on an unknown metric: choose of {', '.join(known)}")
        if "." in name and boundary not in boundaries:
            raise UserError(
                f"the threshold {text!r} is on a boundary that is not measured: choose of {', '.join(boundaries)}"
            )
        modes = [boundary] if boundary else boundaries
        thresholds += [Threshold(f"{name}={least:g}", mode, metric, least) for mode in modes]
    return thresholds


def check(thresholds: Sequence[Threshold], metrics: Mapping[BoundaryName, Metrics]) -> list[Outcome]:
    """Return what came of each threshold. An undefined metric fails."""
    outcomes = []
    for threshold in thresholds:
        value = metrics[threshold.boundary].estimates[threshold.metric].value
        outcomes.append(Outcome(**vars(threshold), value=value, passed=value >= threshold.least))
    return outcomes
