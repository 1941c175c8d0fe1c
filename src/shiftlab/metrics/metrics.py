"""Every metric, arrays in, arrays out. PROTOCOL.md defines them; intervals.py says how sure they are.

Arrays over the grid have the shape `(D, D)`, D = 2 radius + 1: row dy, column dx, both from -radius to radius. They are
nan at shifts that a sample of the grid lacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from shiftlab.metrics import sampling
from shiftlab.metrics.intervals import (
    Estimate,
    Estimates,
    Floats,
    drawn,
    mean,
    means,
    only,
    percentiles,
    ratios,
    share,
    shares,
)
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.grids import Shifts, line
from shiftlab.shifts.predictions import GridPredictions, Predictions

CALIBRATION_BINS = 15
SURVIVING = 0.9  # of the unmoved accuracy

Labels = NDArray[np.unsignedinteger]


def accuracy(predicted: Labels, labels: Labels) -> Estimate:
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


def moves_survived(accuracies: Floats) -> int:
    """The largest horizontal move, in pixels, that keeps 90% of the unmoved accuracy, in every training.

    It is the largest m with that at every shift of at most m pixels, left and right.

    Args:
        accuracies: `(seeds, 2 radius + 1)`, at each shift from -radius to radius.
    """
    radius = accuracies.shape[1] // 2
    surviving = np.all(accuracies >= SURVIVING * accuracies[:, [radius]] - 1e-12, axis=0)
    both = surviving[radius:] & surviving[radius::-1]  # by distance
    return int(np.cumprod(both).sum()) - 1


def confusion(predicted: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """Counts of images, `(classes, classes)`: row the actual class, column the predicted one."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(classes))
    return matrix


@dataclass(frozen=True)
class ClassScores:
    """One class's scores, in 0..1; where a class is never predicted its precision counts as 0."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


def per_class(predicted: Labels, labels: Labels, names: Sequence[str]) -> list[ClassScores]:
    """Precision, recall and F1 of each class."""
    numbers = np.arange(len(names))
    columns = precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0.0)
    return [
        ClassScores(name, float(precision), float(recall), float(f1), int(images))
        for name, precision, recall, f1, images in zip(names, *columns, strict=True)
    ]


def as_map(of_shifts: Estimates, shifts: Shifts) -> Estimates:
    """Estimates at each of `shifts`, `(S,)`, laid out as the grid, `(D, D)`."""
    places = shifts.astype(int)
    radius = int(np.abs(places).max())
    tables = []
    for values in (of_shifts.value, of_shifts.low, of_shifts.high):
        table = np.full((2 * radius + 1,) * 2, np.nan)
        table[places[:, 1] + radius, places[:, 0] + radius] = values
        tables.append(table)
    return Estimates(*tables)


def maps(grid: GridPredictions, labels: Labels) -> dict[str, Estimates]:
    """Every metric that has a value at each shift, `(D, D)` each; labels `(M,)` are those of the grid's images.

    The share of images classified right; that called what the unshifted image is, of all images and of those right
    unshifted; the mean distance of the class probabilities from the unshifted image's, in two ways; the share of raw
    intensity that is still in the frame.
    """
    unshifted = grid.predicted[grid.centre]
    of_shifts = {
        "accuracy": shares(grid.predicted == labels),
        "agreement": shares(grid.predicted == unshifted),
        "agreement where right": shares((grid.predicted == unshifted)[:, unshifted == labels]),
        "euclidean distance": means(grid.euclidean),
        "cosine distance": means(grid.cosine),
        "ink": ratios(grid.ink, grid.ink[grid.centre]),
    }
    return {name: as_map(one, grid.shifts) for name, one in of_shifts.items()}


def over_grid(grid: GridPredictions, labels: Labels) -> dict[str, Estimate]:
    """Every metric that is one number for the whole grid; labels `(M,)` are those of the grid's images.

    From a sample of the grid they are estimates of the same, and their intervals cover the drawing of shifts too.
    """
    design = Design.of(grid.shifts)
    right, unshifted = grid.predicted == labels, grid.predicted[grid.centre]

    def over_shifts(values: NDArray[np.floating | np.bool_]) -> Estimate:
        if design.complete:
            return mean(values.mean(axis=0, dtype=np.float64))
        return sampling.mean(values, design)

    return {
        "grid": over_shifts(right),
        **over_pairs(grid.predicted, grid.shifts, labels),
        "agreement": over_shifts(grid.predicted == unshifted),
        "euclidean": over_shifts(grid.euclidean),
        "cosine": over_shifts(grid.cosine),
    }


def over_pairs(predicted: Labels, shifts: Shifts, labels: Labels) -> dict[str, Estimate]:
    """Metrics that compare an image's answers at two shifts: predictions `(S, M)`, shifts `(S, 2)`, labels `(M,)`.

    As `over_grid`, of which they are a part.
    """
    design, right = Design.of(shifts), predicted == labels
    if design.complete:
        agreeing, faithful = consistency(predicted), pairwise_accuracy(right)
        consistent = float(agreeing.mean()), agreeing @ drawn(len(labels)) / len(labels)
        true_to = mean(faithful)
    else:
        codes = _codes(predicted)
        consistent = sampling.share_of_pairs((codes == code for code in range(int(codes.max()) + 1)), design)
        value, resampled = sampling.share_of_pairs([right], design)
        true_to = _estimate(value, resampled, len(labels))
    chance, by_chance = sampling.agreement_by_chance(predicted, labels, design)
    return {
        "consistency": _estimate(*consistent, len(labels)),
        "corrected_consistency": _estimate(
            _beyond_chance(np.array(consistent[0]), np.array(chance)).item(),
            _beyond_chance(consistent[1], by_chance),
            len(labels),
        ),
        "consistency_by_chance": _estimate(chance, by_chance, len(labels)),
        "pairwise_accuracy": true_to,
    }


def consistency(predicted: Labels) -> Floats:
    """For each image `(M,)`, the share of pairs of different shifts that agree; predictions `(S, M)`.

    Exact: with n_c the number of shifts at which the image is called c, it is the sum of n_c (n_c - 1) over
    S (S - 1).
    """
    shifts = len(predicted)
    codes = _codes(predicted)
    called = np.stack([(codes == code).sum(axis=0) for code in range(int(codes.max()) + 1)]).astype(np.int64)
    agreeing: Floats = (called * (called - 1)).sum(axis=0) / (shifts * (shifts - 1))
    return agreeing


def pairwise_accuracy(right: NDArray[np.bool_]) -> Floats:
    """For each image `(M,)`, the share of pairs of different shifts at which it is right twice; `right` is `(S, M)`."""
    shifts, count = len(right), right.sum(axis=0).astype(np.int64)
    pairs: Floats = count * (count - 1) / (shifts * (shifts - 1))
    return pairs


def _beyond_chance(consistent: Floats, chance: Floats) -> Floats:
    """(C - E) / (1 - E), nan where E is 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected: Floats = np.where(chance < 1 - 1e-12, (consistent - chance) / (1 - chance), np.nan)
    return corrected


def _codes(predicted: Labels) -> NDArray[np.int64]:
    """The predictions `(S, M)` with each image's different answers counted from 0, of which there may be few."""
    order = np.argsort(predicted, axis=0, kind="stable")
    ordered = np.take_along_axis(predicted, order, axis=0)
    steps = np.zeros(predicted.shape, dtype=np.int64)
    steps[1:] = np.cumsum(ordered[1:] != ordered[:-1], axis=0)
    codes = np.empty_like(steps)
    np.put_along_axis(codes, order, steps, axis=0)
    return codes


def _estimate(value: float, resampled: Floats, images: int) -> Estimate:
    if np.isnan(value):
        return Estimate(value, value, value, images)
    return only(percentiles(np.array([value]), resampled[np.newaxis][:, ~np.isnan(resampled)]), images)


def rings(shifts: NDArray[np.int8]) -> NDArray[np.int64]:
    """The Chebyshev radius of each shift, `(S, 2)` -> `(S,)`."""
    largest: NDArray[np.int64] = np.abs(shifts.astype(np.int64)).max(axis=1)
    return largest


@dataclass(frozen=True)
class AtRadius:
    """Metrics of the shifts at, or within, a Chebyshev radius in pixels."""

    radius: int
    accuracy: Estimate  # mean over the shifts at this radius
    robust_accuracy: Estimate  # share of images right at every shift within it
    confidence: Estimate  # mean at this radius
    calibration_error: Estimate  # expected calibration error at this radius, in 0..1
    ink: Estimate  # share of intensity in the frame, mean at this radius
    by_class: dict[int, Estimate]  # accuracy at this radius of each class that has images


def by_radius(grid: GridPredictions, labels: Labels) -> list[AtRadius]:
    """The metrics at every radius of the grid, from 0; labels `(M,)` are those of the grid's images.

    Of a sample of the grid: at the shifts there are, and at radii that have some.
    """
    right, ring = grid.predicted == labels, rings(grid.shifts)
    once = np.zeros(len(ring), dtype=np.bool_)
    once[np.unique(grid.shifts, axis=0, return_index=True)[1]] = True
    found = []
    for radius in np.unique(ring).tolist():
        at, within = once & (ring == radius), ring <= radius
        found.append(
            AtRadius(
                radius,
                accuracy=mean(right[at].mean(axis=0)),
                robust_accuracy=share(right[within].all(axis=0)),
                confidence=mean(grid.confidence[at].mean(axis=0, dtype=np.float64)),
                calibration_error=calibration_error(grid.confidence[at], right[at]),
                ink=only(ratios(grid.ink[at].mean(axis=0, keepdims=True), grid.ink[grid.centre]), len(labels)),
                by_class={int(label): mean(right[at][:, labels == label].mean(axis=0)) for label in np.unique(labels)},
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
    return only(percentiles(error, resampled), images)


def phases(right: NDArray[np.bool_], shifts: Shifts, period: int) -> Estimates:
    """Accuracy by (dx mod period, dy mod period), `(period, period)`: row dy, column dx. `right` is `(S, M)`.

    Only as many shifts as make whole periods count, so that every phase has equally many, about the centre. Where a
    sample of the grid has none of a phase, it is nan.
    """
    offsets, weights = shifts.astype(np.int64), Design.of(shifts).weights
    radius = int(np.abs(offsets).max())
    first = -((2 * radius + 1) // period * period // 2)
    last = first + (2 * radius + 1) // period * period - 1
    inside = ((first <= offsets) & (offsets <= last)).all(axis=1) & (weights > 0)
    of_phase = []
    for dy in range(period):
        for dx in range(period):
            members = inside & (offsets % period == (dx, dy)).all(axis=1)
            nothing = np.full(right.shape[1], np.nan)
            of_phase.append(np.average(right[members], axis=0, weights=weights[members]) if members.any() else nothing)
    found = means(np.stack(of_phase))
    return Estimates(*(values.reshape(period, period) for values in (found.value, found.low, found.high)))


@dataclass(frozen=True)
class FailingShift:
    """The nearest shift at which an image is classified wrong."""

    dx: int
    dy: int
    called: int  # what it is called there


@dataclass(frozen=True)
class ImageRobustness:
    """How one test image fares under all shifts."""

    image: int  # its number in the test set
    label: int
    right: float  # share of shifts at which it is classified right
    breaking: FailingShift | None  # none where it is right at every shift


def fragility(grid: GridPredictions, labels: Labels) -> list[ImageRobustness]:
    """Every image that is classified right unshifted, the most fragile first; labels `(M,)` of the grid's images.

    Of images right equally often, the one that breaks nearer comes first.
    """
    right, weights = grid.predicted == labels, Design.of(grid.shifts).weights
    distance = np.hypot(*grid.shifts.astype(np.float64).T)
    nearest_first = np.lexsort((grid.shifts[:, 0], grid.shifts[:, 1], distance))
    found = []
    for column in np.flatnonzero(right[grid.centre]):
        reach, breaking = np.inf, None
        wrong = nearest_first[~right[nearest_first, column]]
        if len(wrong):
            reach = distance[wrong[0]]
            dx, dy = grid.shifts[wrong[0]].tolist()
            breaking = FailingShift(dx, dy, int(grid.predicted[wrong[0], column]))
        share = float(np.average(right[:, column], weights=weights))
        image = int(grid.images[column])
        found.append((share, reach, image, ImageRobustness(image, int(labels[column]), share, breaking)))
    return [entry for *_, entry in sorted(found, key=lambda one: one[:3])]
