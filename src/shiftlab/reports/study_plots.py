"""Which pictures are drawn of a study.

Everything here takes the decide stage's summary, the content of metrics/study.json.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from shiftlab.reports import primitives
from shiftlab.reports.blocks import CONTRAST_COLOURS
from shiftlab.reports.primitives import Effect, Line, Panel, Point
from shiftlab.reports.study import (
    POINT,
    Summary,
    Variant,
    contrast_in_words,
    label,
    metric_in_words,
    page,
    settings,
    tables,
)

COLUMNS = 2  # of panels


def written(summary: Summary) -> dict[str, bytes | str]:
    """The contents of reports/study/, by the file's name: pictures, tables and the page."""
    drawn = of_study(summary)
    return {
        **{f"{name}.png": picture for name, picture in drawn.items()},
        "results.md": f"# Where invariance comes from, on {summary['data']}\n\n{tables(summary)}",
        "index.html": page(summary, drawn),
    }


def of_study(summary: Summary) -> dict[str, bytes]:
    """All of them by name, as PNG."""
    about = f"{summary['data']}, {len(summary['seeds'])} seeds"
    return {"effects": _effects(summary, about), "curves": _curves(summary, about), "plane": _plane(summary, about)}


def _effects(summary: Summary, about: str) -> bytes:
    groups = {
        f"{claim['claim']}: {claim['verdict']}": [
            _effect(one) for one in claim["contrasts"] if one["difference"] is not None
        ]
        for claim in summary["claims"]
    }
    title = (
        f"{about}: every contrast with its 95% t-interval, and in brackets the sign that is claimed (grey: ±1 point)"
    )
    return primitives.forest(groups, CONTRAST_COLOURS, POINT, title)


def _effect(one: Mapping[str, Any]) -> Effect:
    words = contrast_in_words(one)
    named = words if one["exactly"] is not None else f"{words}: {metric_in_words(one)} ({one['sign']})"
    kind = one["verdict"] or "secondary"
    return Effect(named, 100 * one["difference"], 100 * one["low"], 100 * one["high"], kind, hollow=one["secondary"])


def _curves(summary: Summary, about: str) -> bytes:
    """Accuracy against distance, a panel for each setting, of the variants that differ in nothing else."""
    chosen = _on_one_frame(summary)
    names = dict.fromkeys(name for one in chosen for name in settings(one) if name != "canvas")
    panels = []
    for name in names:
        groups = [group for group in _alike(chosen, name) if len(group) > 1]
        most = max(map(len, groups), default=0)
        shown = [one for group in groups if len(group) == most for one in group]
        if shown:
            lines = {label(one["variant"]): _by_distance(one) for one in shown}
            panels.append(Panel(lines, "distance along an axis (pixels)", "accuracy", name))
    if not panels:
        every = {label(one["variant"]): _by_distance(one) for one in chosen}
        panels = [Panel(every, "distance along an axis (pixels)", "accuracy", "all variants")]
    rows = [panels[first : first + COLUMNS] for first in range(0, len(panels), COLUMNS)]
    return primitives.panels(
        rows, f"{about}: accuracy against distance, boundary zero (band: 95% t-interval)", legends=True
    )


def _on_one_frame(summary: Summary) -> list[Variant]:
    """The variants that see images as they are; or if there are none, all of them."""
    return [one for one in summary["variants"] if one["canvas"] is None] or list(summary["variants"])


def _alike(variants: Sequence[Variant], name: str) -> list[list[Variant]]:
    """Groups of variants that differ in the setting `name` alone."""

    def others(one: Variant) -> str:
        return str({key: value for key, value in settings(one).items() if key != name})

    having = sorted((one for one in variants if name in settings(one)), key=others)
    return [list(group) for _, group in groupby(having, key=others)]


def _by_distance(variant: Variant) -> Line:
    metrics = variant["metrics"]["canvas" if variant["canvas"] else "zero"]
    steps = [step for step in range(variant["radius"] + 1) if f"distance {step}" in metrics]
    points = [metrics[f"distance {step}"] for step in steps]
    ends = [[one[end] if one[end] is not None else one["mean"] for one in points] for end in ("low", "high")]
    return Line(steps, [one["mean"] for one in points], (ends[0], ends[1]))


def _plane(summary: Summary, about: str) -> bytes:
    points = [
        Point(
            label(one["variant"]),
            x=_with_ends(one["metrics"]["canvas" if one["canvas"] else "zero"]["clean"]),
            y=_with_ends(one["metrics"]["canvas" if one["canvas"] else "circular"]["consistency"]),
            size=one["multiply_adds"],
        )
        for one in _on_one_frame(summary)
    ]
    words = ("accuracy unshifted, %", "consistency under circular shifts, %", "multiply-adds of an image")
    return primitives.scatter(points, *words, f"{about}: what invariance costs (lines: 95% t-intervals)")


def _with_ends(one: Mapping[str, Any]) -> tuple[float, float, float]:
    ends = [one[end] if one[end] is not None else one["mean"] for end in ("low", "high")]
    return (100 * one["mean"], 100 * ends[0], 100 * ends[1])
