"""The registry of metrics: a function decorated with `@metric` in `definitions/NAME.py`, which everything iterates.

What the function returns (`over`) settles its interval and its paired test:

- "images": one value for each image, `(N,)`. Of booleans a proportion (Wilson's interval, McNemar's test), of floats a
  mean (percentile bootstrap over images).
- "shifts": a value for each shift and image of the grid, `(S, M)`: the mean over the whole grid, estimated where the
  grid was sampled (bootstrap over images, and over shifts where they were sampled).
- "pairs": boolean arrays `(S, M)`, no two true at the same place: the proportion of pairs of different shifts at which
  one of them is true of an image twice (bootstrap as for "shifts").
- "resamples": a `Resampled`, whose resamples are those of that bootstrap.

A function takes the predictions, of which its grid holds the shifts within `within` pixels alone where that is set, and
returns None where they lack what it needs (a named set that was not predicted).
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from shiftlab.metrics import definitions, sampling
from shiftlab.metrics.intervals import Proportion, Resampled, Statistic, resampled_mean
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.predictions import Predictions

Over = Literal["images", "shifts", "pairs", "resamples"]
Unit = Literal["%", ""]  # "%": a proportion, shown in percent; "": a distance, shown as it is
Function = TypeVar("Function", bound=Callable[..., Any])

# Keys of earlier versions, which users have in scripts -> what each is called now.
RENAMED = {
    "worst_case": "robust_accuracy",
    "fidelity": "pairwise_accuracy",
    "chance_consistency": "consistency_by_chance",
}


@dataclass(frozen=True)
class Metric:
    """A metric's definition."""

    name: str
    label: str  # what people read; {within}: the pixels
    function: Callable[..., Any]
    over: Over
    unit: Unit
    needs_labels: bool
    limits: tuple[float, float]  # the least and the greatest value that it can have
    within: int | None  # pixels: the largest shift that counts; None: the grid's radius

    @property
    def key(self) -> str:
        """The name in files, tables' columns, MLflow and options."""
        return self.name if self.within is None else f"{self.name}_{self.within}"

    def at_radius(self, radius: int) -> "Metric":
        """Return the metric on a grid of that radius, which its key and label name where it depends on it."""
        if self.within is None:
            return self
        within = min(self.within, radius)
        return replace(self, within=within, label=self.label.replace("{within}", str(within)))

    def statistic(self, predictions: Predictions) -> Statistic | None:
        """Return the metric of a model's predictions; None where they lack what it needs."""
        if self.within is not None:
            predictions = predictions.within(self.within)
        values = self.function(predictions)
        if values is None or isinstance(values, Resampled):
            return values
        if self.over == "images":
            return Proportion(values) if values.dtype == np.bool_ else resampled_mean(values)
        design = Design.of(predictions.grid.shifts)
        return sampling.mean(values, design) if self.over == "shifts" else sampling.proportion_of_pairs(values, design)


_registered: dict[str, Metric] = {}


def metric(
    *,
    label: str,
    over: Over,
    unit: Unit = "%",
    needs_labels: bool = True,
    limits: tuple[float, float] = (0.0, 1.0),
    within: int | None = None,
    name: str | None = None,
) -> Callable[[Function], Function]:
    """Register the decorated function as a metric; the module's docstring says what it takes and returns.

    The metric has the function's name where no other is given. ValueError: another metric has that name.
    """

    def register(function: Function) -> Function:
        key = name or function.__name__
        if key in _registered:
            raise ValueError(f"two metrics are called {key}: rename one of them")
        _registered[key] = Metric(key, label, function, over, unit, needs_labels, limits, within)
        return function

    return register


@cache
def _definitions() -> list[Metric]:
    """Return every metric: proportions first, then by what they are over, then by the names of their files."""
    for module in pkgutil.iter_modules(definitions.__path__):
        importlib.import_module(f"{definitions.__name__}.{module.name}")
    kinds = get_args(Over)  # and by file: whichever was imported first
    return sorted(_registered.values(), key=lambda of: (of.unit != "%", kinds.index(of.over), of.function.__module__))


def metrics(radius: int) -> dict[str, Metric]:
    """Return every metric on a grid of that radius in pixels, by key, in the order of all tables."""
    at_radius = [definition.at_radius(radius) for definition in _definitions()]
    return {metric.key: metric for metric in at_radius}


def get(key: str) -> Metric:
    """Return the metric with that key, which tells the radius where the metric depends on it; KeyError if none has."""
    radius = key.rpartition("_")[2]
    return metrics(int(radius) if radius.isdecimal() else 0)[key]


def renamed(key: str, radius: int) -> str | None:
    """Return the present key of a metric by one of an earlier version, or by its name without the radius."""
    name = RENAMED.get(key, key)
    present = {metric.name: metric.key for metric in metrics(radius).values()}.get(name)
    return None if present == key else present


def measure(predictions: Predictions, radius: int, labelled: bool = True) -> dict[str, Statistic]:
    """Return every metric that the predictions allow, by key, on a grid of that radius in pixels.

    Where the labels are not true, metrics that need them are left out.
    """
    allowed = [metric for metric in metrics(radius).values() if labelled or not metric.needs_labels]
    statistics = {metric.key: metric.statistic(predictions) for metric in allowed}
    return {key: statistic for key, statistic in statistics.items() if statistic}
