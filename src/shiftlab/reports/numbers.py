"""Numbers as people read them: shares, estimates, intervals and p-values; the one formatter of all reports."""

from collections.abc import Iterable, Mapping
from typing import Any

from shiftlab.metrics import registry
from shiftlab.metrics.intervals import Estimate

UNDEFINED = "undefined"


def percent(share: float | None, undefined: str = UNDEFINED) -> str:
    """Write a share, in 0..1, in % without the sign."""
    return undefined if share is None else f"{100 * share:.1f}"


def share(value: float | None) -> str:
    """Write a share, in 0..1, in % with the sign."""
    return UNDEFINED if value is None else f"{percent(value)}%"


def scale(metric: str) -> tuple[int, int]:
    """Return the factor and the number of decimals of a metric: shares are written in %, distances as they are."""
    return (1, 3) if metric and registry.get(metric).unit != "%" else (100, 1)


def plus_minus(estimate: Estimate, metric: str = "", more_digits: int = 0) -> str:
    """Write an estimate ± the half-width of its 95% interval; of a share with more decimals than usual."""
    if estimate.value != estimate.value:
        return UNDEFINED
    factor, digits = scale(metric)
    digits += more_digits if factor == 100 else 0
    return f"{factor * estimate.value:.{digits}f} ±{factor * estimate.half:.{digits}f}"


def with_interval(estimate: Mapping[str, float | None], metric: str = "") -> str:
    """Write an estimate in JSON's types, "value", "low" and "high", with the ends of its 95% interval."""
    if estimate["value"] is None:
        return UNDEFINED
    factor, digits = scale(metric)
    value, low, high = (f"{factor * (estimate[end] or 0.0):.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def over_seeds_and_images(mean: float, by_seeds: float | None, by_images: float) -> str:
    """Write a mean share in % with half of its intervals over seeds (several), s, and images, i; the wider is bold."""
    images = f"i ±{100 * by_images:.2f}"
    if by_seeds is None:
        return f"{100 * mean:.2f} ({images})"
    seeds = f"s ±{100 * by_seeds:.2f}"
    return f"{100 * mean:.2f} ({f'**{seeds}**, {images}' if by_seeds > by_images else f'{seeds}, **{images}**'})"


def points(difference: float | None, metric: str = "") -> str:
    """Write a difference with its sign: of shares in percentage points, of distances as it is."""
    if difference is None:
        return UNDEFINED
    factor, digits = scale(metric)
    return f"{factor * difference:+.{2 if factor == 100 else digits}f}"


def points_interval(test: Mapping[str, Any], metric: str = "") -> str:
    """Write the 95% interval of a difference, as `points`; nothing where there is none."""
    return "" if test.get("low") is None else f"[{points(test['low'], metric)}, {points(test['high'], metric)}]"


def with_commas(count: int | None) -> str:
    """Write a count with commas between thousands; nothing where there is none."""
    return "" if count is None else f"{count:,}"


def p_value(p: float) -> str:
    """Write a p-value."""
    if p < 1e-300:
        return "p < 1e-300"
    return f"p = {p:.2g}" if p < 0.001 else f"p = {p:.3f}"


def enumerated(parts: Iterable[str]) -> str:
    """Join parts as English does: a, b and c."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last
