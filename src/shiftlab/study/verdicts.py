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
class ContrastResult:
    """The effect and the verdict of a contrast."""

    contrast: Contrast
    effect: Effect
    p_holm: float | None  # p after Holm's correction over all primary contrasts; a secondary one has none
    verdict: Verdict | None  # likewise
    larger_than: tuple[str, str] | None  # of `beyond`, the two variants that differ most


def decide(claims: Mapping[str, Claim], values: Values) -> dict[str, list[ContrastResult]]:
    """Return the results of every claim's contrasts, by the claim's key. UserError: a canvas was too small for them."""
    effects = [(key, contrast, *_effect(contrast, values)) for key in claims for contrast in claims[key].contrasts]
    p_holm = iter(holm([size.p for _, contrast, size, _ in effects if not contrast.secondary]))
    results: dict[str, list[ContrastResult]] = {key: [] for key in claims}
    for key, contrast, size, larger_than in effects:
        p = None if contrast.secondary else next(p_holm)
        decision = None if p is None else verdict(contrast, size, p)
        results[key].append(ContrastResult(contrast, size, p, decision, larger_than))
    return results


def verdict(contrast: Contrast, size: Effect, p_holm: float) -> Verdict:
    """Return a contrast's verdict by rule, from numbers alone."""
    if contrast.exactly is not None:
        return "supported" if size.low == size.high == 0 else "contradicted"
    if size.low >= -POINT and size.high <= POINT:
        return "supported" if contrast.sign == "0" else "no effect worth a point"
    if not p_holm < CERTAIN:
        return "undecided"
    as_claimed = size.difference > 0 if contrast.sign == "+" else size.difference < 0
    return "supported" if as_claimed and contrast.sign != "0" else "contradicted"


def claim_verdict(results: Sequence[ContrastResult]) -> ClaimVerdict:
    """Return what all primary contrasts of a claim say: it needs every one of them."""
    verdicts = {result.verdict for result in results if result.verdict}
    if "undecided" in verdicts:
        return "undecided"
    return verdicts.pop() if len(verdicts) == 1 else "depends"


def _effect(contrast: Contrast, values: Values) -> tuple[Effect, tuple[str, str] | None]:
    """Return the effect, and which two variants of `beyond` differ most."""

    def of(variant: str, metric: str) -> Floats:
        if (variant, metric, contrast.boundary) not in values:
            raise UserError(
                f"a claim asks for {metric} of the variant {variant!r}, which was not moved so far: its canvas has no "
                "room for that; take a larger one"
            )
        return np.array(values[variant, metric, contrast.boundary])

    metric, largest = contrast.metric, None
    terms = [(1, contrast.first, metric)]
    if contrast.second:
        terms.append((-1, contrast.second, contrast.second_metric or metric))
    if contrast.beyond:
        differences = {
            (first, second): of(first, metric).mean() - of(second, metric).mean() for first, second in contrast.beyond
        }
        largest = max(differences, key=differences.__getitem__)
        terms += [(-1, largest[0], metric), (1, largest[1], metric)]
    # One group for each variant: what is added up of the same trainings is not independent.
    groups: dict[str, Floats] = {}
    for sign, variant, of_metric in terms:
        groups[variant] = groups.get(variant, 0.0) + sign * of(variant, of_metric)
    if contrast.exactly is not None:
        away = groups[contrast.first] - contrast.exactly
        groups[contrast.first] = np.where(np.abs(away) < ROUNDING, 0.0, away)
    return effect([(1, group.tolist()) for group in groups.values()]), largest
