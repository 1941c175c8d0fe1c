from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from shiftlab.config.params import Claim, Contrast
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Effect, holm
from shiftlab.study.verdicts import ContrastResult, Values, claim_verdict, decide, verdict


def contrast(sign: str = "+", **otherwise: Any) -> Contrast:
    given = {"first": "a", "second": "b", "metric": "clean", "boundary": "zero", "sign": sign, **otherwise}
    return Contrast.model_validate(given)


def decided(given: Contrast, values: Values) -> ContrastResult:
    ((result,),) = decide({"it": Claim(says="", by="", contrasts=[given])}, values).values()
    return result


def clean(**values: Sequence[float]) -> Values:
    return {(name, "clean", "zero"): of_seeds for name, of_seeds in values.items()}


@pytest.mark.parametrize(
    ("sign", "low", "high", "corrected", "expected"),
    [
        ("+", 0.02, 0.06, 0.001, "supported"),
        ("+", -0.06, -0.02, 0.001, "contradicted"),
        ("-", -0.06, -0.02, 0.001, "supported"),
        ("-", 0.02, 0.06, 0.001, "contradicted"),
        ("+", 0.005, 0.06, 0.049, "supported"),  # not within a point
        ("+", 0.02, 0.06, 0.05, "undecided"),  # Holm has the last word
        ("+", -0.02, 0.06, 0.3, "undecided"),
        ("+", 0.001, 0.009, 0.001, "no effect worth a point"),  # certain, and too small
        ("-", -0.01, 0.01, 1.0, "no effect worth a point"),
        ("0", -0.009, 0.002, 0.5, "supported"),
        ("0", 0.02, 0.06, 0.001, "contradicted"),
        ("0", -0.06, -0.02, 0.001, "contradicted"),
        ("0", -0.02, 0.06, 0.3, "undecided"),
    ],
)
def test_verdict_follows_from_numbers(sign: str, low: float, high: float, corrected: float, expected: str) -> None:
    assert verdict(contrast(sign), Effect((low + high) / 2, low, high, corrected), corrected) == expected


def test_what_is_undefined_is_undecided() -> None:
    assert verdict(contrast(), Effect(np.nan, np.nan, np.nan, 1.0), 1.0) == "undecided"


def test_effect_is_welchs_difference() -> None:
    first, second = [0.9, 0.8, 0.95], [0.5, 0.4, 0.7]
    one = decided(contrast(), clean(a=first, b=second))
    assert one.effect.p == pytest.approx(ttest_ind(first, second, equal_var=False).pvalue)


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(UserError, match="distance 7 of the variant 'a', which was not moved so far"):
        decided(contrast(metric="distance 7"), clean(a=[0.5, 0.6], b=[0.5, 0.6]))


def test_two_metrics_of_the_same_trainings_are_paired() -> None:
    values = {("a", "clean", "zero"): [0.9, 0.5, 0.7], ("a", "right5", "zero"): [0.8, 0.4, 0.55]}
    one = decided(contrast(second="a", second_metric="right5"), values)
    assert one.effect.p == pytest.approx(ttest_1samp([0.1, 0.1, 0.15], 0).pvalue)


def test_beyond_takes_off_the_largest_other_effect() -> None:
    values = clean(a=[0.9, 0.92], b=[0.5, 0.48], c=[0.6, 0.62], d=[0.55, 0.56], e=[0.2, 0.3])
    one = decided(contrast(beyond=[["c", "d"], ["d", "e"], ["e", "c"]]), values)
    assert one.larger_than == ("d", "e")
    assert one.effect.difference == pytest.approx(0.91 - 0.49 - (0.555 - 0.25))


def test_a_variant_on_both_sides_cancels_out() -> None:
    values = clean(a=[0.9, 0.92, 0.91], b=[0.5, 0.3, 0.4], c=[0.6, 0.62, 0.64])
    one = decided(contrast(beyond=[["c", "b"]]), values)  # (a - b) - (c - b)
    expected = ttest_ind([0.9, 0.92, 0.91], [0.6, 0.62, 0.64], equal_var=False)
    assert one.effect.difference == pytest.approx(0.91 - 0.62)
    assert one.effect.low == pytest.approx(expected.confidence_interval(0.95).low, rel=0.02)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0], "supported"),
        ([1.0, 1 - 1e-12], "supported"),
        ([1.0, 0.9999], "contradicted"),
        ([0.9, 0.9], "contradicted"),
    ],
)
def test_exactly_means_in_every_training(values: list[float], expected: str) -> None:
    assert decided(contrast(second=None, exactly=1.0), clean(a=values)).verdict == expected


def results(*contrasts: Contrast) -> list[ContrastResult]:
    """Of a claim about a, far above b and equal to c; d differs from a as seeds do."""
    rng = np.random.default_rng(0)
    means = {"a": (0.9, 0.002), "b": (0.5, 0.002), "c": (0.9, 0.002), "d": (0.9, 0.2)}
    values = clean(**{name: rng.normal(*mean, 5).tolist() for name, mean in means.items()})
    return decide({"it": Claim(says="", by="", contrasts=list(contrasts))}, values)["it"]


HELPS, HARMS = contrast(on="b"), contrast("-", on="b, the other way")
SAME, UNSURE = contrast(second="c", on="c"), contrast(second="d", on="d")


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [
        ([HELPS, HELPS], "supported"),
        ([HARMS, HARMS], "contradicted"),
        ([SAME, SAME], "no effect worth a point"),
        ([HELPS, HARMS], "depends"),
        ([HELPS, SAME], "depends"),
        ([HARMS, SAME], "depends"),
        ([HELPS, UNSURE], "undecided"),
        ([HARMS, SAME, UNSURE], "undecided"),
    ],
)
def test_a_claim_needs_all_of_its_primary_contrasts(contrasts: list[Contrast], expected: str) -> None:
    assert claim_verdict(results(*contrasts)) == expected


@pytest.mark.parametrize("other", [HARMS, SAME, UNSURE])
def test_secondary_contrasts_decide_nothing_and_are_not_counted(other: Contrast) -> None:
    alone, both = results(HELPS), results(HELPS, other.model_copy(update={"secondary": True}))
    assert claim_verdict(both) == "supported"
    assert both[0] == alone[0]
    assert (both[1].p_holm, both[1].verdict) == (None, None)


def test_holm_counts_all_primary_contrasts_of_the_study() -> None:
    values = clean(a=[0.9, 0.92, 0.91], b=[0.5, 0.3, 0.4], c=[0.8, 0.82, 0.9])
    claims = {
        "one": Claim(says="", by="", contrasts=[HELPS, SAME]),
        "two": Claim(says="", by="", contrasts=[contrast()]),
    }
    decided = [result for results in decide(claims, values).values() for result in results]
    assert [one.p_holm for one in decided] == pytest.approx(holm([one.effect.p for one in decided]))
