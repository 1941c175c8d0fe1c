"""From the metrics of all trainings to effects, and from effects to verdicts. PROTOCOL.md, "Effects and verdicts"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shiftlab.config.params import Claim, Contrast
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Effect, Floats, effect, holm

Verdict = Literal["supported", "contradicted", "no effect worth a point", "undecided"]  # of a contrast
# Of a claim: `depends` where all of its primary contrasts are decided and do not agree.
ClaimVerdict = Literal[Verdict, "depends"]

POINT = 0.01  # the smallest effect of interest
CERTAIN = 0.05  # below which a corrected p-value is
ROUNDING = 1e-9  # of a metric that is exact

# (variant, metric, boundary) -> its value in each training, in the order of seeds
Values = Mapping[tuple[str, str, str], Sequence[float]]


@dataclass(frozen=True)
class Decided:
    """One contrast."""

    contrast: Contrast
    effect: Effect
    p_holm: float | None  # p after Holm's correction over all primary contrasts; a secondary one has none
    verdict: Verdict | None  # likewise
    larger_than: tuple[str, str] | None  # of `beyond`, the two variants that differ most


@dataclass(frozen=True)
class Answer:
    """One claim."""

    key: str
    claim: Claim
    decided: list[Decided]

    @property
    def verdict(self) -> ClaimVerdict:
        """What all of its primary contrasts say: a claim needs every one of them."""
        verdicts = {one.verdict for one in self.decided if one.verdict}
        if "undecided" in verdicts:
            return "undecided"
        return verdicts.pop() if len(verdicts) == 1 else "depends"


def decide(claims: Mapping[str, Claim], values: Values) -> list[Answer]:
    """Decide every claim.

    Raises:
        UserError: a canvas was too small for what a claim asks for.
    """
    effects = [(key, contrast, *_effect(contrast, values)) for key, one in claims.items() for contrast in one.contrasts]
    p_holm = iter(holm([size.p for _, contrast, size, _ in effects if not contrast.secondary]))
    decided: dict[str, list[Decided]] = {key: [] for key in claims}
    for key, contrast, size, largest in effects:
        p = None if contrast.secondary else next(p_holm)
        decided[key].append(Decided(contrast, size, p, None if p is None else verdict(contrast, size, p), largest))
    return [Answer(key, claim, decided[key]) for key, claim in claims.items()]


def verdict(contrast: Contrast, found: Effect, p_holm: float) -> Verdict:
    """By rule, from numbers alone."""
    if contrast.exactly is not None:
        return "supported" if found.low == found.high == 0 else "contradicted"
    if found.low >= -POINT and found.high <= POINT:
        return "supported" if contrast.sign == "0" else "no effect worth a point"
    if not p_holm < CERTAIN:
        return "undecided"
    as_claimed = found.difference > 0 if contrast.sign == "+" else found.difference < 0
    return "supported" if as_claimed and contrast.sign != "0" else "contradicted"


def _effect(contrast: Contrast, values: Values) -> tuple[Effect, tuple[str, str] | None]:
    """The effect, and which two variants of `beyond` differ most."""

    def of(variant: str, metric: str) -> Floats:
        if (variant, metric, contrast.boundary) not in values:
            raise UserError(
                f"a claim asks for {metric} of the variant {variant!r}, which was not moved so far: its canvas has no "
                "room for that; take a larger one"
            )
        return np.array(values[variant, metric, contrast.boundary])

    largest: tuple[str, str] | None = None
    terms = [(1, contrast.first, contrast.metric)]
    if contrast.second:
        terms.append((-1, contrast.second, contrast.second_metric or contrast.metric))
    if contrast.beyond:
        pairs = [(first, second) for first, second in contrast.beyond]
        largest = max(pairs, key=lambda pair: of(pair[0], contrast.metric).mean() - of(pair[1], contrast.metric).mean())
        terms += [(-1, largest[0], contrast.metric), (1, largest[1], contrast.metric)]
    # One group for each variant: what is added up of the same trainings is not independent.
    groups: dict[str, Floats] = {}
    for sign, variant, metric in terms:
        groups[variant] = groups.get(variant, 0.0) + sign * of(variant, metric)
    if contrast.exactly is not None:
        away = groups[contrast.first] - contrast.exactly
        groups[contrast.first] = np.where(np.abs(away) < ROUNDING, 0.0, away)
    return effect([(1, group.tolist()) for group in groups.values()]), largest
