"""95% intervals and tests: over images, over trainings (seeds), and over both. PROTOCOL.md says which is which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy  # which imports scipy.stats where it is used first: trainings spare that second
from numpy.typing import NDArray

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
    """Estimates of many means over the same images: arrays of one shape, nan where there is no image."""

    value: Floats
    low: Floats
    high: Floats

    @property
    def reach(self) -> float:
        """Half of the widest interval's width."""
        return float(np.nanmax(self.high - self.low)) / 2


def proportion(correct: NDArray[np.bool_]) -> Estimate:
    """Return the proportion of images `(N,)` that are true, with the interval of Wilson (1927)."""
    count, images = int(correct.sum()), len(correct)
    interval = scipy.stats.binomtest(count, images).proportion_ci(0.95, method="wilson")
    return Estimate(count / images, float(interval.low), float(interval.high), images)


def proportions(correct: NDArray[np.bool_]) -> Estimates:
    """Return the proportion of images that are true in each row of `(K, M)`, with Wilson's intervals; `(K,)`."""
    count, images = correct.sum(axis=1), correct.shape[1]
    if images == 0:
        nothing = np.full(len(correct), np.nan)
        return Estimates(nothing, nothing, nothing)
    from statsmodels.stats.proportion import proportion_confint

    return Estimates(count / images, *proportion_confint(count, images, alpha=0.05, method="wilson"))


def mean(values: NDArray[np.floating]) -> Estimate:
    """Return the mean of one value for each image, `(M,)`, with a percentile bootstrap interval over the images."""
    return to_scalar(means(values[np.newaxis]), len(values))


def means(values: NDArray[np.floating | np.bool_]) -> Estimates:
    """Return the mean of each row of `(K, M)` over M images, with percentile bootstrap intervals over them; `(K,)`."""
    rows = values.astype(np.float64)
    return percentiles(rows.mean(axis=1), rows @ bootstrap_counts(rows.shape[1]) / rows.shape[1])


def ratios(parts: NDArray[np.number], wholes: NDArray[np.number]) -> Estimates:
    """Return the sum of each row of `parts`, `(K, M)`, over that of `wholes`, `(M,)`; intervals as `means`; `(K,)`."""
    rows, whole = parts.astype(np.float64), wholes.astype(np.float64)
    counts = bootstrap_counts(len(whole))
    return percentiles(rows.sum(axis=1) / whole.sum(), rows @ counts / (whole @ counts))


@cache
def bootstrap_counts(images: int) -> Floats:
    """Return how often each image is drawn in each resample, `(images, RESAMPLES)`; the same for all metrics.

    Sums over a resample are then products of matrices, which makes intervals for every cell of a map affordable.
    """
    rng = np.random.default_rng(0)
    return rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).T.astype(np.float64)


def percentiles(value: Floats, resampled: Floats) -> Estimates:
    """Return estimates of any shape `(...)` from their bootstrap resamples, `(..., RESAMPLES)`."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=-1)
    return Estimates(value, np.minimum(low, value), np.maximum(high, value))  # it always holds its value


def to_scalar(estimates: Estimates, images: int) -> Estimate:
    """Return the single estimate in arrays that hold one."""
    return Estimate(estimates.value.item(), estimates.low.item(), estimates.high.item(), images)


@dataclass(frozen=True)
class Proportion:
    """A proportion of one model's images, with what McNemar's test needs."""

    correct: NDArray[np.bool_]  # (N,)

    @property
    def estimate(self) -> Estimate:
        """The proportion, with Wilson's interval."""
        return proportion(self.correct)

    @property
    def resamples(self) -> Floats:
        """The proportion in each bootstrap resample of the images, `(RESAMPLES,)`."""
        return resampled_mean(self.correct).resamples


@dataclass(frozen=True)
class Resampled:
    """A metric of one model, with what a paired bootstrap needs."""

    value: float
    resamples: Floats  # (RESAMPLES,): the metric of each resample; nan where it is undefined
    by_image: Floats  # (M,): what the metric is the mean of, to first order

    @property
    def estimate(self) -> Estimate:
        """The metric, with a percentile bootstrap interval."""
        if np.isnan(self.value):
            return Estimate(self.value, self.value, self.value, len(self.by_image))
        defined = self.resamples[~np.isnan(self.resamples)]
        return to_scalar(percentiles(np.array(self.value), defined), len(self.by_image))


Statistic = Proportion | Resampled


def resampled_mean(values: NDArray[np.floating | np.bool_]) -> Resampled:
    """Return the mean of one value for each image, `(M,)`, with its bootstrap resamples."""
    floats, images = values.astype(np.float64), len(values)
    return Resampled(float(floats.mean()), floats @ bootstrap_counts(images) / images, floats)


@dataclass(frozen=True)
class OverSeeds:
    """A metric over several trainings: mean, sample standard deviation, and a 95% t-interval of the mean."""

    mean: float
    spread: float
    low: float
    high: float
    seeds: int


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Return mean, spread and interval of a value for each seed, of which there are two at least."""
    middle, spread, count = float(np.mean(values)), float(np.std(values, ddof=1)), len(values)
    half = float(scipy.stats.t.ppf(0.975, count - 1)) * spread / count**0.5
    return OverSeeds(middle, spread, middle - half, middle + half, count)


def combined(seeds: Sequence[Estimate], limits: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Return the mean over seeds, with one 95% interval for seeds and images together (Satterthwaite 1946).

    Its variance is that over seeds, s^2 / n, plus the images' variance of the mean. Of the latter the mean of the
    seeds' own variances is an upper bound (Cauchy-Schwarz: seeds share their images, and correlate by at most 1), so
    that the interval is conservative. The images' degrees of freedom are infinite. It is never narrower than Student's
    over seeds alone, as it would be where few seeds vary by much: their degrees of freedom grow by the images' part.
    Of a single seed it is the images'. It ends where the metric does, at its least and greatest value, the limits.
    """
    count, images = len(seeds), seeds[0].images
    if count == 1:
        return seeds[0]
    values, low, high = np.array([(estimate.value, estimate.low, estimate.high) for estimate in seeds]).T
    value, normal = float(values.mean()), scipy.stats.norm.ppf(0.975)
    seed_variance = float(values.var(ddof=1)) / count
    variance = seed_variance + float(np.mean(((high - low) / 2 / normal) ** 2))
    half = normal * variance**0.5
    if seed_variance:
        freedom = (count - 1) * (variance / seed_variance) ** 2
        student, student_of_seeds = scipy.stats.t.ppf(0.975, [freedom, count - 1])
        half = max(student * variance**0.5, student_of_seeds * seed_variance**0.5)
    return Estimate(value, float(max(value - half, limits[0])), float(min(value + half, limits[1])), images)


@dataclass(frozen=True)
class Effect:
    """A sum or difference of means over trainings, with Welch's 95% t-interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float  # 1 where nothing differs, 0 where something does without any spread


def effect(groups: Sequence[tuple[float, Sequence[float]]]) -> Effect:
    """Return the sum of weighted means of independent groups, of which spreads and sizes may differ (Welch 1947).

    A group is its weight, and a value for each seed, of which there are two at least. Two groups with the weights 1 and
    -1 are Welch's t-test, a single group is Student's.
    """
    difference = sum(weight * float(np.mean(values)) for weight, values in groups)
    variances = np.array([weight**2 * np.var(values, ddof=1) / len(values) for weight, values in groups])
    variance, freedom = variances.sum(), np.array([len(values) - 1 for _, values in groups])
    if not variance > 0:  # or undefined, where a value is
        return Effect(difference, difference, difference, float(difference != difference or difference == 0))
    student = scipy.stats.t(variance**2 / (variances**2 / freedom).sum(), scale=variance**0.5)
    half = float(student.ppf(0.975))
    return Effect(difference, difference - half, difference + half, float(2 * student.sf(abs(difference))))


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values of several tests adjusted so that one in twenty studies errs at 0.05 anywhere (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    adjusted: list[float] = multipletests(p, method="holm")[1].tolist() if p else []
    return adjusted
