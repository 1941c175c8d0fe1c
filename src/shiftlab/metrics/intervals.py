"""How sure a metric is: every interval, and the test of two models on the same images. PROTOCOL.md says which is which.

Intervals over images are Wilson's for shares and a percentile bootstrap for other means; over seeds they are Student's;
a mean over seeds has one for both, with Satterthwaite's degrees of freedom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 1000  # of the images, for a bootstrap interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over images, with its 95% interval; nan where it is undefined."""

    value: float
    low: float
    high: float
    images: int

    @property
    def half(self) -> float:
        """The half-width of its interval, the longer side of the two: what stands after ±."""
        return max(self.high - self.value, self.value - self.low)


@dataclass(frozen=True)
class Estimates:
    """The same for many means over the same images: arrays of one shape. All are nan where there is no image."""

    value: Floats
    low: Floats
    high: Floats

    @property
    def reach(self) -> float:
        """Half of the widest interval's width."""
        return float(np.nanmax(self.high - self.low)) / 2


def share(right: NDArray[np.bool_]) -> Estimate:
    """The share of images `(N,)` that something is true of, with the interval of Wilson (1927)."""
    count, images = int(right.sum()), len(right)
    interval = binomtest(count, images).proportion_ci(0.95, method="wilson")
    return Estimate(count / images, float(interval.low), float(interval.high), images)


def shares(right: NDArray[np.bool_]) -> Estimates:
    """The share of images that something is true of, for each row of `(K, M)`, with Wilson's intervals; `(K,)`."""
    count, images = right.sum(axis=1), right.shape[1]
    if images == 0:
        nothing = np.full(len(right), np.nan)
        return Estimates(nothing, nothing, nothing)
    return Estimates(count / images, *proportion_confint(count, images, alpha=0.05, method="wilson"))


def mean(values: NDArray[np.floating]) -> Estimate:
    """The mean of one value for each image, `(M,)`, with a percentile bootstrap interval over the images."""
    return only(means(values[np.newaxis]), len(values))


def means(values: NDArray[np.floating | np.bool_]) -> Estimates:
    """The mean of each row of `(K, M)` over M images, with percentile bootstrap intervals over the images; `(K,)`."""
    rows = values.astype(np.float64)
    return percentiles(rows.mean(axis=1), rows @ drawn(rows.shape[1]) / rows.shape[1])


def ratios(parts: NDArray[np.number], wholes: NDArray[np.number]) -> Estimates:
    """What share of the sum of `wholes`, `(M,)`, the sum of each row of `parts`, `(K, M)`, is; as `means`; `(K,)`."""
    rows, whole = parts.astype(np.float64), wholes.astype(np.float64)
    times = drawn(len(whole))
    return percentiles(rows.sum(axis=1) / whole.sum(), rows @ times / (whole @ times))


@cache
def drawn(images: int) -> Floats:
    """How often each image is drawn in each resample of a bootstrap, `(images, RESAMPLES)`; the same for all metrics.

    Sums over a resample are then products of matrices, which makes intervals for every cell of a map affordable.
    """
    rng = np.random.default_rng(0)
    return rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).T.astype(np.float64)


def percentiles(value: Floats, resampled: Floats) -> Estimates:
    """Estimates of any shape `(...)` from their bootstrap resamples, `(..., RESAMPLES)`."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=-1)
    return Estimates(value, low, high)


def only(one: Estimates, images: int) -> Estimate:
    """The single estimate in arrays that hold one."""
    return Estimate(one.value.item(), one.low.item(), one.high.item(), images)


@dataclass(frozen=True)
class Difference:
    """Two models on the same images and shifts."""

    evaluation_set: str
    first: str
    second: str
    by: float  # accuracy of the first minus that of the second
    only_first: int  # images that the first alone has right
    only_second: int
    p: float  # McNemar's exact test, two-sided
    corrected: float  # the same after Holm's correction over all comparisons that were asked for


def differences(right: Mapping[str, Mapping[str, NDArray[np.bool_]]]) -> list[Difference]:
    """Every pair of models on every evaluation set (McNemar 1947, Holm 1979).

    Args:
        right: by evaluation set and model, which of the same images `(N,)` it classifies right.
    """
    found = []
    for name, models in right.items():
        for first, second in combinations(models, 2):
            only_first = int((models[first] & ~models[second]).sum())
            only_second = int((models[second] & ~models[first]).sum())
            discordant = only_first + only_second
            p = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
            by = (only_first - only_second) / len(models[first])
            found.append(Difference(name, first, second, by, only_first, only_second, p, corrected=1.0))
    return [replace(one, corrected=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


@dataclass(frozen=True)
class OverSeeds:
    """A metric over several trainings: mean, sample standard deviation, and a 95% t-interval of the mean."""

    mean: float
    spread: float
    low: float
    high: float
    seeds: int


def over_seeds(values: list[float]) -> OverSeeds:
    """Of one value for each seed, of which there are two at least."""
    middle, spread, count = float(np.mean(values)), float(np.std(values, ddof=1)), len(values)
    reach = float(t.ppf(0.975, count - 1)) * spread / count**0.5
    return OverSeeds(middle, spread, middle - reach, middle + reach, count)


def combined(of_seeds: Sequence[Estimate], limits: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """The mean over seeds, with one 95% interval for seeds and images together (Satterthwaite 1946).

    Its variance is that over seeds, s^2 / n, plus the images' variance of the mean. Of the latter the mean of the
    seeds' own variances is an upper bound (Cauchy-Schwarz: seeds share their images, and correlate by at most 1), so
    that the interval is conservative. The images' degrees of freedom are infinite. It is never narrower than Student's
    over seeds alone, as it would be where few seeds vary by much: their degrees of freedom grow by the images' part.

    Args:
        of_seeds: one training each, with its interval over images, which is the result where there is only one.
        limits: the least and the greatest value that the metric can have.
    """
    first, *others = of_seeds
    if not others:
        return first
    values = np.array([one.value for one in of_seeds])
    value, count = float(values.mean()), len(values)
    over_seeds = float(values.var(ddof=1)) / count
    over_images = float(np.mean([((one.high - one.low) / 2 / norm.ppf(0.975)) ** 2 for one in of_seeds]))
    variance = over_seeds + over_images
    half = norm.ppf(0.975) * variance**0.5
    if over_seeds:
        freedom = (count - 1) * (variance / over_seeds) ** 2
        half = max(t.ppf(0.975, freedom) * variance**0.5, t.ppf(0.975, count - 1) * over_seeds**0.5)
    return Estimate(value, float(max(value - half, limits[0])), float(min(value + half, limits[1])), first.images)


@dataclass(frozen=True)
class Effect:
    """A sum or difference of means over trainings, with Welch's 95% t-interval and two-sided p-value."""

    by: float
    low: float
    high: float
    p: float  # 1 where nothing differs, 0 where something does without any spread


def effect(groups: Sequence[tuple[float, Sequence[float]]]) -> Effect:
    """The sum of weighted means of independent groups, of which spreads and sizes may differ (Welch 1947).

    Two groups with the weights 1 and -1 are Welch's t-test, one is Student's.

    Args:
        groups: weight, and one value for each seed, of which there are two at least.
    """
    by = sum(weight * float(np.mean(values)) for weight, values in groups)
    parts = np.array([weight**2 * np.var(values, ddof=1) / len(values) for weight, values in groups])
    variance, freedom = parts.sum(), np.array([len(values) - 1 for _, values in groups])
    if not variance > 0:  # or undefined, where a value is
        return Effect(by, by, by, float(by != by or by == 0))
    student = t(variance**2 / (parts**2 / freedom).sum(), scale=variance**0.5)
    reach = float(student.ppf(0.975))
    return Effect(by, by - reach, by + reach, float(2 * student.sf(abs(by))))


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected so that one in twenty studies errs at 0.05 anywhere (Holm 1979)."""
    corrected: list[float] = multipletests(p, method="holm")[1].tolist() if p else []
    return corrected


@dataclass(frozen=True)
class SeedDifference:
    """Two models over several trainings each."""

    metric: str
    first: str
    second: str
    by: float  # mean of the first minus that of the second
    low: float  # Welch's 95% t-interval of it
    high: float
    p: float  # Welch's t-test, two-sided; 1 where nothing differs
    corrected: float  # the same after Holm's correction over all comparisons that were asked for


def differences_over_seeds(values: Mapping[str, Mapping[str, list[float]]]) -> list[SeedDifference]:
    """Every pair of models in every metric (Welch 1947, Holm 1979).

    Args:
        values: by metric and model, one for each seed, of which there are two at least.
    """
    found = []
    for name, models in values.items():
        for first, second in combinations(models, 2):
            one = effect([(1, models[first]), (-1, models[second])])
            found.append(SeedDifference(name, first, second, one.by, one.low, one.high, one.p, 1.0))
    return [replace(one, corrected=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]
