"""Paired tests of two models: on the same images and shifts, or over several trainings each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isnan, nan
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from shiftlab.metrics.intervals import RESAMPLES, Proportion, Statistic, effect, holm


@dataclass(frozen=True)
class Difference:
    """Two models on the same images and shifts (McNemar 1947, Holm 1979)."""

    metric: str
    first: str
    second: str
    difference: float  # the first's metric less the second's; nan where one is undefined
    low: float | None  # 95% percentile bootstrap interval, from the same resamples for both; a proportion has none
    high: float | None
    only_first: int | None  # images that the first alone has right, of a proportion of images
    only_second: int | None
    p: float  # two-sided: McNemar's exact test of a proportion, else of the bootstrap, at least two in RESAMPLES
    p_holm: float = 1.0  # after Holm's correction over all rows of the table


@dataclass(frozen=True)
class SeedDifference:
    """Two models over two trainings each or more (Welch 1947, Holm 1979)."""

    metric: str
    first: str
    second: str
    difference: float  # mean of the first less that of the second
    low: float  # Welch's 95% t-interval of it
    high: float
    p: float  # Welch's t-test, two-sided; 1 where nothing differs
    p_holm: float = 1.0  # after Holm's correction over all rows of the table


Row = TypeVar("Row", Difference, SeedDifference)


def differences(models: Mapping[str, Mapping[str, Statistic]]) -> list[Difference]:
    """Return the test of every pair of models, by name, in every metric that all of them have; see `Difference`."""
    rows = []
    for metric, first, second in _pairs(models):
        rows.append(_difference(metric, first, second, models[first][metric], models[second][metric]))
    return _adjusted(rows)


def differences_over_seeds(models: Mapping[str, Mapping[str, Sequence[float]]]) -> list[SeedDifference]:
    """Return the test of every pair of models, by name, in every metric, of which each has a value for each seed."""
    rows = []
    for metric, first, second in _pairs(models):
        welch = effect([(1, models[first][metric]), (-1, models[second][metric])])
        rows.append(SeedDifference(metric, first, second, welch.difference, welch.low, welch.high, welch.p))
    return _adjusted(rows)


def _pairs(models: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, str, str]]:
    """Yield every metric that all models have, with the names of every two models."""
    for metric in next(iter(models.values())):
        if all(metric in of_model for of_model in models.values()):
            for first, second in combinations(models, 2):
                yield metric, first, second


def _difference(metric: str, first: str, second: str, statistic: Statistic, other: Statistic) -> Difference:
    """Return McNemar's exact test of two proportions, of other metrics the paired bootstrap."""
    if isinstance(statistic, Proportion) and isinstance(other, Proportion):
        correct, other_correct = statistic.correct, other.correct
        only_first, only_second = int((correct & ~other_correct).sum()), int((other_correct & ~correct).sum())
        discordant = only_first + only_second
        p = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
        difference = (only_first - only_second) / len(correct)
        return Difference(metric, first, second, difference, None, None, only_first, only_second, p)
    difference, resampled = statistic.estimate.value - other.estimate.value, statistic.resamples - other.resamples
    defined = resampled[~np.isnan(resampled)]
    if isnan(difference) or not len(defined):
        return Difference(metric, first, second, nan, nan, nan, None, None, p=1.0)
    low, high = np.percentile(defined, [2.5, 97.5]).tolist()
    beyond = min((defined <= 0).mean(), (defined >= 0).mean())
    p = 1.0 if difference == 0 and low == high else min(1.0, 2 * max(float(beyond), 1 / RESAMPLES))
    return Difference(metric, first, second, difference, low, high, None, None, p)


def _adjusted(rows: list[Row]) -> list[Row]:
    adjusted = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
