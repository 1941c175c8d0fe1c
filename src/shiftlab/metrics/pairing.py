"""Paired tests of two models: on the same images and shifts, or over several trainings each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isnan, nan
from typing import TypeVar

import numpy as np
import scipy

from shiftlab.metrics.intervals import Floats, Proportion, Resampled, Statistic, effect, holm


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
    p: float  # two-sided: McNemar's exact test of a proportion, else Student's t with the bootstrap's error
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


ROUNDING = 1e-12  # of an image's metric

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
        p = float(scipy.stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
        difference = (only_first - only_second) / len(correct)
        return Difference(metric, first, second, difference, None, None, only_first, only_second, p)
    assert isinstance(statistic, Resampled)
    assert isinstance(other, Resampled)
    difference, resampled = statistic.value - other.value, statistic.resamples - other.resamples
    defined = resampled[~np.isnan(resampled)]
    if isnan(difference) or not len(defined):
        return Difference(metric, first, second, nan, nan, nan, None, None, p=1.0)
    low, high = np.percentile(defined, [2.5, 97.5]).tolist()
    p = _bootstrap_p(difference, statistic.by_image - other.by_image, float(defined.std(ddof=1)))
    return Difference(metric, first, second, difference, low, high, None, None, p)


def _bootstrap_p(difference: float, by_image: Floats, error: float) -> float:
    """Return the two-sided p of a difference by its bootstrap standard error, which sets it no floor.

    Student's t has as many degrees of freedom as so many images with equal differences would have, less one: (sum
    d^2)^2 / sum d^4. No p is below the exact sign-flip test's least, 2^(1 - k) of k images that differ.

    Args:
        by_image: each image's difference, `(M,)`.
        error: the standard error.
    """
    squares = np.where(np.abs(by_image) > ROUNDING, by_image, 0) ** 2
    least = min(1.0, 2.0 ** (1 - np.count_nonzero(squares)))
    if least == 1 or not error:
        return least
    freedom = max(squares.sum() ** 2 / (squares**2).sum() - 1, ROUNDING)
    return max(float(2 * scipy.stats.t.sf(abs(difference) / error, freedom)), least)


def _adjusted(rows: list[Row]) -> list[Row]:
    adjusted = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
