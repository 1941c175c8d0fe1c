"""What a sample of shifts tells of the whole grid they were drawn from. See PROTOCOL.md, "Sampled grids"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import RESAMPLES, Floats, Resampled, bootstrap_counts, resampled_mean
from shiftlab.shifts.grids import Shifts, anchors, center_and_ends, grid


@dataclass(frozen=True)
class Design:
    """How S shifts stand for a whole grid.

    Sequences that cover the square evenly tell more than shifts drawn each for itself, so that a bootstrap over all of
    them would be far too wide. It is one within groups of neighbours (as in Stevens and Olsen 2003): all but one of a
    group are drawn and given the weight of all (Rao and Wu 1988), with a finite-population correction.
    """

    certain: NDArray[np.bool_]  # (S,): those that stand for themselves
    sequences: tuple[NDArray[np.bool_], NDArray[np.bool_]]  # (S,) each: those of one sequence, and of the other
    groups: list[NDArray[np.int64]]  # neighbours among those that were drawn, two or three each
    uncertain: int  # shifts of the grid that are not certain

    @classmethod
    def of(cls, shifts: Shifts) -> Design:
        """Return that of `shifts.sample`, `(S, 2)`. Of a whole grid all shifts are certain.

        Of a sample, anchors besides center and ends have no weight here: they are there for minima over shifts.
        """
        places, numbers = shifts.astype(int), np.arange(len(shifts))
        radius = int(np.abs(places).max())
        size, certain, anchored = len(grid(radius)), len(center_and_ends(radius)), len(anchors(radius))
        if len(np.unique(shifts, axis=0)) == size:
            nothing = np.zeros(len(shifts), dtype=np.bool_)
            return cls(~nothing, (nothing, nothing), [], size - certain)
        first, second = ((numbers >= anchored) & ((numbers - anchored) % 2 == half) for half in (0, 1))
        return cls(numbers < certain, (first, second), _neighbours(places, numbers[anchored:]), size - certain)

    @property
    def complete(self) -> bool:
        """Is it the whole grid?"""
        return not self.groups

    @property
    def weights(self) -> Floats:
        """How many shifts of the grid each stands for, `(S,)`."""
        weights = self.certain.astype(np.float64)
        for sequence in self.sequences:
            weights[sequence] = self.uncertain / (2 * max(1, sequence.sum()))
        return weights

    def resampled(self) -> Floats:
        """By how much the weights change in each resample of a bootstrap over shifts, `(S, RESAMPLES)`."""
        rng = np.random.default_rng(1)
        change = np.zeros((len(self.certain), RESAMPLES))
        correction = np.sqrt(1 - sum(sequence.sum() for sequence in self.sequences) / self.uncertain)
        for group in self.groups:
            size = len(group)
            counts = rng.multinomial(size - 1, np.full(size, 1 / size), RESAMPLES).T * size / (size - 1)
            change[group] = correction * (counts - 1)
        return change * self.weights[:, np.newaxis]

    def pairs(self, values: Floats, others: Floats | None = None) -> tuple[Floats, Floats]:
        """Return the sum of x(s) y(t) over all pairs of different shifts of the grid, and its growth; `(B,)`, `(S, B)`.

        Two shifts that were drawn make a pair where they come from different sequences. The growth is that of each sum
        with the weight of each shift that was drawn: resamples add it times their change of weights. (What is left
        out, of second order, a bootstrap would count twice.)

        Args:
            values: x, `(S, B)`.
            others: y, `(S, B)` or `(S, 1)`; None: x.
        """
        others = values if others is None else others
        strata = self.weights * np.stack([self.certain, *self.sequences])  # (3, S)
        (x, *x_drawn), (y, *y_drawn) = strata @ values, strata @ others
        squares = (values[self.certain] * others[self.certain]).sum(axis=0)
        across = 2 * (self.uncertain - 1) / max(1, self.uncertain)  # weight of a pair of two shifts that were drawn
        total: Floats = x * y - squares + x * sum(y_drawn) + y * sum(x_drawn)
        total += across * (x_drawn[0] * y_drawn[1] + x_drawn[1] * y_drawn[0])
        growth = np.zeros(values.shape)
        for half, sequence in enumerate(self.sequences):
            growth[sequence] = values[sequence] * (y + across * y_drawn[1 - half])
            growth[sequence] += others[sequence] * (x + across * x_drawn[1 - half])
        return total, growth

    def all_pairs(self) -> tuple[float, Floats]:
        """Return the number of pairs of different shifts of the grid, and its growth with each weight, `(S,)`."""
        (count,), growth = self.pairs(np.ones((len(self.certain), 1)))
        return float(count), growth[:, 0]


def mean(values: NDArray[np.floating | np.bool_], design: Design) -> Resampled:
    """Return the mean over the grid and over images of `(S, M)`, resampled over images, and shifts of a sample."""
    if design.complete:
        return resampled_mean(values.mean(axis=0, dtype=np.float64))
    rows, weights, images = values.astype(np.float64), design.weights, values.shape[1]
    resampled = weights[:, np.newaxis] + design.resampled()
    by_image = weights @ rows / weights.sum()
    # Images first: what is in memory then does not grow with their number.
    over_both = (resampled * (rows @ bootstrap_counts(images))).sum(axis=0) / (images * resampled.sum(axis=0))
    return Resampled(float(by_image.mean()), over_both, by_image)


def pairs_by_image(indicators: Iterable[NDArray[np.bool_]], design: Design) -> Floats:
    """Return for each image, `(M,)`, what `proportion_of_pairs` is the mean of."""
    by_image: Floats = sum_pairs(indicators, design)[0] / design.all_pairs()[0]
    return by_image


def proportion_of_pairs(indicators: Iterable[NDArray[np.bool_]], design: Design) -> Resampled:
    """Return the proportion of pairs of different shifts of the grid at which an indicator is true of an image twice.

    It is the mean over images, resampled over images, and shifts of a sample. Each indicator is `(S, M)`, true of
    shifts and images; no two are true of the same.
    """
    return resampled_pairs(*sum_pairs(indicators, design), design)


def resampled_pairs(pairs: Floats, growth: Floats, design: Design) -> Resampled:
    """Return the mean over images of sums over pairs, `(M,)` with growth `(S, M)`, as a share of all pairs."""
    count, count_growth = design.all_pairs()
    if design.complete:
        return resampled_mean(pairs / count)
    images, change = len(pairs), design.resampled()
    resampled = pairs @ bootstrap_counts(images) + ((growth @ bootstrap_counts(images)) * change).sum(axis=0)
    by_image = pairs / count
    return Resampled(float(by_image.mean()), resampled / (images * (count + count_growth @ change)), by_image)


def sum_pairs(indicators: Iterable[NDArray[np.bool_]], design: Design) -> tuple[Floats, Floats]:
    """Return the pairs of different shifts at which an indicator is true of an image twice, and their growth."""
    total, growth = np.zeros(()), np.zeros(())
    for indicator in indicators:
        of_indicator, of_growth = design.pairs(indicator.astype(np.float64))
        total, growth = total + of_indicator, growth + of_growth
    return total, growth


def _neighbours(places: NDArray[np.int64], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return groups of two or three of the members, `(n,)`, near one another: halves of halves along the wider side."""
    if len(members) < 4:
        return [members]
    inside = places[members]
    axis = int(np.ptp(inside, axis=0).argmax())
    order = members[np.lexsort((inside[:, 1 - axis], inside[:, axis]))]
    half = len(order) // 2
    return _neighbours(places, order[:half]) + _neighbours(places, order[half:])
