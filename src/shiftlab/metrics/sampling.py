"""What a sample of shifts tells of the whole grid they were drawn from. See PROTOCOL.md, "Sampled grids"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.intervals import RESAMPLES, Estimate, Estimates, Floats, drawn, only, percentiles
from shiftlab.shifts.grids import Shifts, anchors, fixed, grid


@dataclass(frozen=True)
class Design:
    """How S shifts stand for a whole grid.

    Sequences that cover the square evenly tell more than shifts drawn each for itself, so that a bootstrap over all of
    them would be far too wide. It is one within groups of neighbours (as in Stevens and Olsen 2003): all but one of a
    group are drawn and given the weight of all (Rao and Wu 1988), less what a sample of much of the grid can't miss.
    """

    certain: NDArray[np.bool_]  # (S,): those that stand for themselves
    halves: tuple[NDArray[np.bool_], NDArray[np.bool_]]  # (S,) each: those of one sequence, and of the other
    groups: list[NDArray[np.int64]]  # neighbours among those that were drawn, two or three each
    others: int  # shifts of the grid that are not certain

    @classmethod
    def of(cls, shifts: Shifts) -> Design:
        """Return that of `shifts.sample`, `(S, 2)`. Of a whole grid all shifts are certain.

        Of a sample, anchors that are not fixed have no weight here: they are there for minima over shifts.
        """
        count, places = len(shifts), shifts.astype(int)
        radius = int(np.abs(places).max())
        whole, certain, held = len(grid(radius)), len(fixed(radius)), len(anchors(radius))
        if len(np.unique(shifts, axis=0)) == whole:
            nothing = np.zeros(count, dtype=np.bool_)
            return cls(~nothing, (nothing, nothing), [], whole - certain)
        numbers = np.arange(count)
        first, second = ((numbers >= held) & ((numbers - held) % 2 == half) for half in (0, 1))
        groups = _neighbours(places, np.flatnonzero(first | second))
        return cls(numbers < certain, (first, second), groups, whole - certain)

    @property
    def complete(self) -> bool:
        """Is it the whole grid?"""
        return not self.groups

    @property
    def weights(self) -> Floats:
        """How many shifts of the grid each stands for, `(S,)`."""
        found = self.certain.astype(np.float64)
        for half in self.halves:
            found[half] = self.others / (2 * max(1, half.sum()))
        return found

    def resampled(self) -> Floats:
        """By how much the weights change in each resample of a bootstrap over shifts, `(S, RESAMPLES)`."""
        rng = np.random.default_rng(1)
        change = np.zeros((len(self.certain), RESAMPLES))
        reach = np.sqrt(1 - sum(half.sum() for half in self.halves) / self.others)
        for group in self.groups:
            size = len(group)
            taken = rng.multinomial(size - 1, np.full(size, 1 / size), RESAMPLES).T * size / (size - 1)
            change[group] = reach * (taken - 1)
        return change * self.weights[:, np.newaxis]

    def pairs(self, values: Floats) -> tuple[Floats, Floats]:
        """The sum of x(s) x(t) over all pairs of different shifts of the grid, from values x at S of them.

        Two shifts that were drawn make a pair where they come from different sequences.

        Args:
            values: `(S, B)`.

        Returns:
            The sums, `(B,)`, and how each grows with the weight of each shift that was drawn, `(S, B)`: resamples add
            that times their change of weights. (What is left out, of second order, a bootstrap would count twice.)
        """
        weighted = self.weights[:, np.newaxis] * values
        certain = weighted[self.certain].sum(axis=0)
        squares = (values[self.certain] ** 2).sum(axis=0)
        first, second = (weighted[half].sum(axis=0) for half in self.halves)
        among_drawn = 4 * (self.others - 1) / max(1, self.others)
        total: Floats = certain**2 - squares + 2 * certain * (first + second) + among_drawn * first * second
        growth = np.zeros(values.shape)
        for half, other in zip(self.halves, (second, first), strict=True):
            growth[half] = values[half] * (2 * certain + among_drawn * other)
        return total, growth


def mean(values: NDArray[np.floating | np.bool_], design: Design) -> Estimate:
    """The mean over the grid and over images of `(S, M)`, with a bootstrap interval over both shifts and images."""
    rows = values.astype(np.float64)
    images = rows.shape[1]
    weights = design.weights
    resampled = weights[:, np.newaxis] + design.resampled()
    value = weights @ rows.mean(axis=1) / weights.sum()
    # Images first: what is in memory then does not grow with their number.
    over_both = (resampled * (rows @ drawn(images))).sum(axis=0) / (images * resampled.sum(axis=0))
    return only(_one(value, over_both), images)


def consistency(predicted: NDArray[np.integer], design: Design) -> Floats:
    """Estimate each image's consistency over the whole grid, `(M,)`, from predictions `(S, M)`; exact of all shifts."""
    whole, _ = design.pairs(np.ones((len(predicted), 1)))
    agreeing = [design.pairs((predicted == label).astype(np.float64))[0] for label in np.unique(predicted)]
    of_images: Floats = np.sum(agreeing, axis=0) / whole
    return of_images


def share_of_pairs(indicators: Iterable[NDArray[np.bool_]], design: Design) -> tuple[float, Floats]:
    """The share of pairs of different shifts of the grid at which one of the indicators is true of an image twice.

    Args:
        indicators: each `(S, M)`, true of shifts and images; no two are true of the same.

    Returns:
        The mean over images, and the same in each resample of a bootstrap over shifts and images, `(RESAMPLES,)`.
    """
    pairs, growth = np.zeros(()), np.zeros(())
    for indicator in indicators:
        of_one, growing = design.pairs(indicator.astype(np.float64))
        pairs, growth = pairs + of_one, growth + growing
    images = len(pairs)
    change = design.resampled()
    (whole,), whole_growth = design.pairs(np.ones((len(change), 1)))
    resampled = pairs @ drawn(images) + ((growth @ drawn(images)) * change).sum(axis=0)
    return float(pairs.mean() / whole), resampled / (images * (whole + whole_growth[:, 0] @ change))


def agreement_by_chance(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], design: Design
) -> tuple[float, Floats]:
    """The share of pairs of different shifts that would agree if errors were drawn anew at each, given the class.

    PROTOCOL.md, "Corrected consistency": with P_s(c|y) the share of the images of class y that are called c under shift
    s, the mean over images and pairs of the sum over c of P_s(c|y) P_t(c|y).

    Args:
        predicted: `(S, M)`.
        labels: `(M,)`.

    Returns:
        The value, and the same in each resample of a bootstrap over images (and shifts, of a sample), `(RESAMPLES,)`.
    """
    images = len(labels)
    change = np.zeros((len(predicted), RESAMPLES + 1))
    if not design.complete:
        change[:, 1:] = design.resampled()
    whole, growth = design.pairs(np.ones((len(predicted), 1)))
    wholes = whole + (growth * change).sum(axis=0)
    chance = np.zeros(RESAMPLES + 1)
    for label in np.unique(labels):
        members = labels == label
        times = np.concatenate([np.ones((members.sum(), 1)), drawn(images)[members]], axis=1)
        of_class = times.sum(axis=0)
        # Small whole numbers: single precision is exact, and twice as fast.
        called, counted = predicted[:, members], times.astype(np.float32)
        for answer in np.unique(called):
            shares = (called == answer).astype(np.float32) @ counted / np.maximum(of_class, 1)
            pairs, growth = design.pairs(shares)
            if not design.complete:
                pairs = pairs + (growth * change).sum(axis=0)
            chance += of_class * pairs / (images * wholes)
    return float(chance[0]), chance[1:]


def _one(value: float, resampled: Floats) -> Estimates:
    return percentiles(np.array([value]), resampled[np.newaxis])


def _neighbours(places: NDArray[np.int64], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Groups of two or three of the members, `(n,)`, each near one another: halves of halves along the wider side."""
    if len(members) < 4:
        return [members]
    inside = places[members]
    axis = int(np.ptp(inside, axis=0).argmax())
    order = members[np.lexsort((inside[:, 1 - axis], inside[:, axis]))]
    half = len(order) // 2
    return _neighbours(places, order[:half]) + _neighbours(places, order[half:])
