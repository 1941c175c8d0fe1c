"""What a release has to hold: figures that must not be below a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftlab.errors import UserError
from shiftlab.measure.evaluation import Figures
from shiftlab.measure.shifts import NAMED_SETS
from shiftlab.params import RegimeName

OVER_GRID = (
    "grid",
    "consistency",
    "corrected_consistency",
    "chance_consistency",
    "fidelity",
    "agreement",
    "worst_case",
)
OF_UNLABELLED = ("consistency", "agreement")  # what needs no labels


@dataclass(frozen=True)
class Threshold:
    """The least that a figure has to be, in one regime or in all."""

    figure: str
    least: float
    regime: str | None = None

    def __str__(self) -> str:
        return f"{f'{self.regime}.' if self.regime else ''}{self.figure}={self.least:g}"


@dataclass(frozen=True)
class Outcome:
    """What came of a threshold in one regime."""

    threshold: str
    regime: str
    figure: str
    least: float
    value: float
    held: bool


def parse(texts: Sequence[str], regimes: Sequence[str], labelled: bool) -> list[Threshold]:
    """Thresholds as a user writes them: `consistency=0.95`, or `zero.right5=0.9`.

    Raises:
        UserError: no such figure or regime, or one that needs labels; not a share between 0 and 1.
    """
    known = (*NAMED_SETS, *OVER_GRID) if labelled else OF_UNLABELLED
    found = []
    for text in texts:
        name, _, number = text.partition("=")
        regime, dot, figure = name.rpartition(".")
        try:
            least = float(number)
        except ValueError:
            least = float("nan")
        if not 0 <= least <= 1:
            raise UserError(f"the threshold {text!r} is no share: write FIGURE=0.95, between 0 and 1")
        if figure not in known:
            raise UserError(f"the threshold {text!r} is on an unknown figure: choose of {', '.join(known)}")
        if dot and regime not in regimes:
            raise UserError(
                f"the threshold {text!r} is on a regime that is not measured: choose of {', '.join(regimes)}"
            )
        found.append(Threshold(figure, least, regime or None))
    return found


def hold(thresholds: Sequence[Threshold], found: Mapping[RegimeName, Figures]) -> list[Outcome]:
    """What came of each, in every regime that it is on. A figure that is undefined does not hold."""
    outcomes = []
    for one in thresholds:
        for regime, figures in found.items():
            if one.regime in (None, regime):
                value = (figures.accuracies | figures.summary)[one.figure].value
                outcomes.append(Outcome(str(one), regime, one.figure, one.least, value, value >= one.least))
    return outcomes
