"""Which plots are drawn of a study.

Everything here takes the decide stage's summary, the content of metrics/study.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftlab.reports import primitives, study
from shiftlab.reports.blocks import CONTRAST_COLOURS
from shiftlab.reports.primitives import ForestRow, Line, Panel, Point
from shiftlab.reports.study import POINT, Summary, Variant, contrast_label, label, metric_label, settings

COLUMNS = 2  # of panels


def contents(summary: Summary) -> dict[str, bytes | str]:
    """Return the contents of reports/study/, by the file's name: plots, tables and the page."""
    plots = of_study(summary)
    return {
        **{f"{name}.png": plot for name, plot in plots.items()},
        "results.md": f"# Where invariance comes from, on {summary['data']}\n\n{study.tables(summary)}",
        "index.html": study.page(summary, plots),
    }


def of_study(summary: Summary) -> dict[str, bytes]:
    """Return all plots by name, as PNG."""
    subject = f"{summary['data']}, {len(summary['seeds'])} seeds"
    return {
        "effects": _effects(summary, subject),
        "curves": _curves(summary, subject),
        "plane": _plane(summary, subject),
    }


def _effects(summary: Summary, subject: str) -> bytes:
    groups = {}
    for claim in summary["claims"]:
        contrasts = [contrast for contrast in claim["contrasts"] if contrast["difference"] is not None]
        groups[f"{claim['claim']}: {claim['verdict']}"] = [_effect(contrast) for contrast in contrasts]
    title = "every contrast with its 95% t-interval, and in brackets the sign that is claimed (grey: ±1 point)"
    return primitives.forest(groups, CONTRAST_COLOURS, POINT, f"{subject}: {title}")


def _effect(contrast: Mapping[str, Any]) -> ForestRow:
    name = contrast_label(contrast)
    if contrast["exactly"] is None:
        name += f": {metric_label(contrast)} ({contrast['sign']})"
    difference, low, high = (100 * contrast[key] for key in ("difference", "low", "high"))
    return ForestRow(name, difference, low, high, contrast["verdict"] or "secondary", hollow=contrast["secondary"])


def _curves(summary: Summary, subject: str) -> bytes:
    """Plot accuracy against distance, a panel for each setting, of the variants that differ in nothing else."""
    variants = _on_one_frame(summary)
    by_setting = {}
    for name in dict.fromkeys(name for variant in variants for name in settings(variant) if name != "canvas"):
        groups = _alike(variants, name)
        most = max(map(len, groups))
        if most > 1:
            by_setting[name] = [variant for group in groups if len(group) == most for variant in group]
    panels = []
    for title, group in (by_setting or {"all variants": variants}).items():
        lines = {label(variant["variant"]): _by_distance(variant) for variant in group}
        panels.append(Panel(lines, "distance along an axis (pixels)", "accuracy", title))
    rows = [panels[first : first + COLUMNS] for first in range(0, len(panels), COLUMNS)]
    title = f"{subject}: accuracy against distance, boundary zero (band: 95% t-interval)"
    return primitives.panels(rows, title, legends=True)


def _on_one_frame(summary: Summary) -> list[Variant]:
    """Return the variants that see images as they are; or if there are none, all of them."""
    variants: list[Variant] = list(summary["variants"])
    return [variant for variant in variants if variant["canvas"] is None] or variants


def _alike(variants: Sequence[Variant], name: str) -> list[list[Variant]]:
    """Return groups of variants that differ in the setting `name` alone."""
    groups: dict[str, list[Variant]] = {}
    for variant in variants:
        values = settings(variant)
        if name in values:
            groups.setdefault(str({**values, name: None}), []).append(variant)
    return [groups[key] for key in sorted(groups)]


def _by_distance(variant: Variant) -> Line:
    metrics = variant["metrics"]["canvas" if variant["canvas"] else "zero"]
    steps = [step for step in range(variant["radius"] + 1) if f"distance {step}" in metrics]
    return Line(steps, *zip(*(_with_ends(metrics[f"distance {step}"]) for step in steps), strict=True))


def _plane(summary: Summary, subject: str) -> bytes:
    points = []
    for variant in _on_one_frame(summary):
        clean, consistency = ("canvas", "canvas") if variant["canvas"] else ("zero", "circular")
        x = _with_ends(variant["metrics"][clean]["clean"], 100)
        y = _with_ends(variant["metrics"][consistency]["consistency"], 100)
        points.append(Point(label(variant["variant"]), x, y, size=variant["multiply_adds"]))
    labels = ("accuracy unshifted, %", "consistency under circular shifts, %", "multiply-adds of an image")
    return primitives.scatter(points, *labels, f"{subject}: what invariance costs (lines: 95% t-intervals)")


def _with_ends(metric: Mapping[str, Any], scale: float = 1) -> tuple[float, float, float]:
    """Return a metric's mean with the ends of its interval, which is the mean itself of a single seed."""
    low, high = (metric["mean"] if metric[end] is None else metric[end] for end in ("low", "high"))
    return scale * metric["mean"], scale * low, scale * high
