"""Every figure, arrays in, arrays out. PROTOCOL.md defines them.

Arrays over the grid have the shape `(D, D)`, D = 2 radius + 1: row dy, column dx, both from -radius to radius.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from shiftlab.predictions import OnGrid, Predictions
from shiftlab.shifts import line

CLASSES = np.arange(10)
CALIBRATION_BINS = 15
RESAMPLES = 1000  # of the images, for a bootstrap interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over images, with its 95% interval."""

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Estimates:
    """The same for many means over the same images: arrays of one shape. All are nan where there is no image."""

    value: Floats
    low: Floats
    high: Floats

    def as_table(self) -> "Estimates":
        """Estimates of every shift of the grid, `(S,)`, as a map, `(D, D)`; of every phase as a square likewise."""
        side = round(len(self.value) ** 0.5)
        return Estimates(*(values.reshape(side, side) for values in vars(self).values()))

    @property
    def reach(self) -> float:
        """Half of the widest interval's width."""
        return float(np.nanmax(self.high - self.low)) / 2


def share(right: NDArray[np.bool_]) -> Estimate:
    """The share of images `(N,)` that something is true of, with the interval of Wilson (1927)."""
    count, images = int(right.sum()), len(right)
    interval = binomtest(count, images).proportion_ci(0.95, method="wilson")
    return Estimate(count / images, float(interval.low), float(interval.high), images)


def mean(values: NDArray[np.floating]) -> Estimate:
    """The mean of one value for each image, `(M,)`, with a percentile bootstrap interval over the images."""
    return _only(means(values[np.newaxis]), len(values))


def means(values: NDArray[np.floating | np.bool_]) -> Estimates:
    """The mean of each row of `(K, M)` over M images, with percentile bootstrap intervals over the images; `(K,)`."""
    rows = values.astype(np.float64)
    return _percentiles(rows.mean(axis=1), rows @ drawn(rows.shape[1]) / rows.shape[1])


def ratios(parts: NDArray[np.number], wholes: NDArray[np.number]) -> Estimates:
    """What share of the sum of `wholes`, `(M,)`, the sum of each row of `parts`, `(K, M)`, is; as `means`; `(K,)`."""
    rows, whole = parts.astype(np.float64), wholes.astype(np.float64)
    times = drawn(len(whole))
    return _percentiles(rows.sum(axis=1) / whole.sum(), rows @ times / (whole @ times))


@cache
def drawn(images: int) -> Floats:
    """How often each image is drawn in each resample of a bootstrap, `(images, RESAMPLES)`; the same for all figures.

    Sums over a resample are then products of matrices, which makes intervals for every cell of a map affordable.
    """
    rng = np.random.default_rng(0)
    return rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).T.astype(np.float64)


def _percentiles(value: Floats, resampled: Floats) -> Estimates:
    low, high = np.percentile(resampled, [2.5, 97.5], axis=-1)
    return Estimates(value, low, high)


def _only(one: Estimates, images: int) -> Estimate:
    return Estimate(one.value.item(), one.low.item(), one.high.item(), images)


def accuracy(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Estimate:
    """The accuracy of predictions `(N,)` on labels `(N,)`."""
    return share(predicted == labels)


def accuracies(predictions: Predictions) -> dict[str, Estimate]:
    """The accuracy on each named evaluation set."""
    return {name: accuracy(answers.predicted, predictions.labels) for name, answers in predictions.sets.items()}


def curve(predictions: Predictions, direction: str, radius: int) -> list[tuple[int, Estimate]]:
    """Accuracy at each step -radius..radius along a direction, steps in pixels."""
    rows = predictions.along(line(direction, radius))
    return [
        (step, accuracy(row, predictions.labels)) for step, row in zip(range(-radius, radius + 1), rows, strict=True)
    ]


def confusion(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts of images, `(10, 10)`: row the actual digit, column the predicted one."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=CLASSES)
    return matrix


@dataclass(frozen=True)
class ClassScores:
    """One digit's scores, in 0..1; where a digit is never predicted its precision counts as 0."""

    digit: int
    precision: float
    recall: float
    f1: float
    images: int


def per_class(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> list[ClassScores]:
    """Precision, recall and F1 of each digit."""
    columns = precision_recall_fscore_support(labels, predicted, labels=CLASSES, zero_division=0.0)
    return [
        ClassScores(int(digit), float(precision), float(recall), float(f1), int(images))
        for digit, precision, recall, f1, images in zip(CLASSES, *columns, strict=True)
    ]


def shares(right: NDArray[np.bool_]) -> Estimates:
    """The share of images that something is true of, for each row of `(K, M)`, with Wilson's intervals; `(K,)`."""
    count, images = right.sum(axis=1), right.shape[1]
    if images == 0:
        nothing = np.full(len(right), np.nan)
        return Estimates(nothing, nothing, nothing)
    return Estimates(count / images, *proportion_confint(count, images, alpha=0.05, method="wilson"))


def accuracy_map(right: NDArray[np.bool_]) -> Estimates:
    """The accuracy at every shift, `(D, D)`, from which images `(S, M)` were classified right."""
    return shares(right).as_table()


def agreement_map(predicted: NDArray[np.uint8]) -> Estimates:
    """The share of images called at each shift what they are called unshifted, `(D, D)`; predictions `(S, M)`."""
    return shares(predicted == _unshifted(predicted)).as_table()


def agreement_where_right_map(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Estimates:
    """The same among the images that are classified right unshifted; nan where there is none."""
    return agreement_map(predicted[:, _unshifted(predicted) == labels])


def sensitivity_map(distances: NDArray[np.floating]) -> Estimates:
    """The mean distance of the class probabilities from the unshifted image's, `(D, D)`; distances `(S, M)`."""
    return means(distances).as_table()


def ink_map(ink: NDArray[np.int32]) -> Estimates:
    """The share of raw intensity that is still in the frame at every shift, `(D, D)`; intensities `(S, M)`."""
    return ratios(ink, _unshifted(ink)).as_table()


def consistency(predicted: NDArray[np.uint8]) -> Floats:
    """For each image `(M,)`, the share of pairs of different shifts that agree; predictions `(S, M)`.

    Exact: with n_c the number of shifts at which the image is called c, it is the sum of n_c (n_c - 1) over
    S (S - 1).
    """
    shifts = len(predicted)
    called = np.stack([(predicted == digit).sum(axis=0) for digit in CLASSES]).astype(np.int64)
    agreeing: Floats = (called * (called - 1)).sum(axis=0) / (shifts * (shifts - 1))
    return agreeing


def rings(shifts: NDArray[np.int8]) -> NDArray[np.int64]:
    """The Chebyshev radius of each shift, `(S, 2)` -> `(S,)`."""
    largest: NDArray[np.int64] = np.abs(shifts.astype(np.int64)).max(axis=1)
    return largest


@dataclass(frozen=True)
class AtRadius:
    """Figures of the shifts at, or within, a Chebyshev radius in pixels."""

    radius: int
    accuracy: Estimate  # mean over the shifts at this radius
    worst_case: Estimate  # share of images right at every shift within it
    confidence: Estimate  # mean at this radius
    calibration_error: Estimate  # expected calibration error at this radius, in 0..1
    ink: Estimate  # share of intensity in the frame, mean at this radius
    by_class: dict[int, Estimate]  # accuracy at this radius of each digit that has images


def by_radius(grid: OnGrid, labels: NDArray[np.uint8]) -> list[AtRadius]:
    """The figures at every radius of the grid, from 0; labels `(M,)` are those of the grid's images."""
    right, ring = grid.predicted == labels, rings(grid.shifts)
    found = []
    for radius in range(int(np.max(ring)) + 1):
        at, within = ring == radius, ring <= radius
        found.append(
            AtRadius(
                radius,
                accuracy=mean(right[at].mean(axis=0)),
                worst_case=share(right[within].all(axis=0)),
                confidence=mean(grid.confidence[at].mean(axis=0, dtype=np.float64)),
                calibration_error=calibration_error(grid.confidence[at], right[at]),
                ink=_only(ratios(grid.ink[at].mean(axis=0, keepdims=True), _unshifted(grid.ink)), len(labels)),
                by_class={int(digit): mean(right[at][:, labels == digit].mean(axis=0)) for digit in np.unique(labels)},
            )
        )
    return found


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Estimate:
    """Expected calibration error (Guo et al. 2017) over bins of equal width, and its bootstrap interval over images.

    Args:
        confidence, right: `(K, M)`, for K shifts of M images.
    """
    shifts, images = right.shape
    certain = confidence.astype(np.float64)
    bins = np.minimum((certain * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    excess = np.zeros((images, CALIBRATION_BINS))  # confidence minus accuracy, summed over an image's shifts
    np.add.at(excess, (np.broadcast_to(np.arange(images), right.shape), bins), certain - right)
    error = np.abs(excess.sum(axis=0)).sum() / (shifts * images)
    resampled = np.abs(excess.T @ drawn(images)).sum(axis=0) / (shifts * images)
    return _only(_percentiles(error, resampled), images)


def phases(right: NDArray[np.bool_], shifts: NDArray[np.int8], period: int) -> Estimates:
    """Accuracy by (dx mod period, dy mod period), `(period, period)`: row dy, column dx. `right` is `(S, M)`.

    Only as many shifts as make whole periods count, so that every phase has equally many, about the centre.
    """
    offsets = shifts.astype(np.int64)
    radius = int(np.abs(offsets).max())
    first = -((2 * radius + 1) // period * period // 2)
    last = first + (2 * radius + 1) // period * period - 1
    inside = ((first <= offsets) & (offsets <= last)).all(axis=1)
    of_phase = [
        right[inside & (offsets % period == (dx, dy)).all(axis=1)].mean(axis=0)
        for dy in range(period)
        for dx in range(period)
    ]
    return means(np.stack(of_phase)).as_table()


@dataclass(frozen=True)
class Breaking:
    """The nearest shift at which an image is classified wrong."""

    dx: int
    dy: int
    called: int  # what it is called there


@dataclass(frozen=True)
class Fragility:
    """How one test image fares under all shifts."""

    image: int  # its number in the test set
    digit: int
    right: float  # share of shifts at which it is classified right
    breaking: Breaking | None  # none where it is right at every shift


def fragility(grid: OnGrid, labels: NDArray[np.uint8]) -> list[Fragility]:
    """Every image that is classified right unshifted, the most fragile first; labels `(M,)` of the grid's images.

    Of images right equally often, the one that breaks nearer comes first.
    """
    right = grid.predicted == labels
    distance = np.hypot(*grid.shifts.astype(np.float64).T)
    nearest_first = np.lexsort((grid.shifts[:, 0], grid.shifts[:, 1], distance))
    found = []
    for column in np.flatnonzero(_unshifted(right)):
        reach, breaking = np.inf, None
        wrong = nearest_first[~right[nearest_first, column]]
        if len(wrong):
            reach = distance[wrong[0]]
            dx, dy = grid.shifts[wrong[0]].tolist()
            breaking = Breaking(dx, dy, int(grid.predicted[wrong[0], column]))
        share = float(right[:, column].mean())
        image = int(grid.images[column])
        found.append((share, reach, image, Fragility(image, int(labels[column]), share, breaking)))
    return [entry for *_, entry in sorted(found, key=lambda one: one[:3])]


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
    if not found:
        return []
    corrected = multipletests([one.p for one in found], method="holm")[1]
    return [replace(one, corrected=float(p)) for one, p in zip(found, corrected, strict=True)]


@dataclass(frozen=True)
class OverSeeds:
    """A figure over several trainings: mean, sample standard deviation, and a 95% t-interval of the mean."""

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


def _unshifted(rows: NDArray[Any]) -> NDArray[Any]:
    middle: NDArray[Any] = rows[len(rows) // 2]
    return middle
