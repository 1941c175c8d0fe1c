"""An audit as people read it: a table for a terminal, an answer in sentences, and its page.

`summary` is the audit's, the content of metrics.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftlab.metrics import registry
from shiftlab.reports.blocks import Plots, Table, embed, paragraph, render, sentences
from shiftlab.reports.numbers import p_value, points, points_interval, with_interval
from shiftlab.shifts import boundaries

Summary = Mapping[str, Any]
Tests = Mapping[str, Sequence[Mapping[str, Any]]]  # by boundary


class Plot(bytes):
    """A PNG, which a notebook shows."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


def table(summary: Summary) -> str:
    """Return all metrics for a terminal, with 95% intervals and a column for each boundary; then the thresholds."""
    parts = [_metrics(summary["metrics"]).text()]
    if summary["published"]:
        parts.append(f"{summary['protocol']['published']}\n{_published(summary).text()}")
    parts.append(paragraph("extent", summary=summary))
    parts += [paragraph("threshold", outcome=outcome) for outcome in summary["thresholds"]]
    return "\n".join(parts)


def _metrics(columns: Mapping[str, Mapping[str, Mapping[str, float | None]]], head: str = "", note: str = "") -> Table:
    """Return all metrics, a column for each boundary, or for each model."""
    names = next(iter(columns.values()))
    rows = [
        [registry.get(name).label, *(with_interval(metrics[name], name) for metrics in columns.values())]
        for name in names
    ]
    return Table([head, *columns], rows, note)


def _published(summary: Summary) -> Table:
    """Return a published protocol's metrics, of which those named as sensitivities are distances."""
    rows = [
        [name, with_interval(value, "euclidean" if name.startswith("sensitivity") else "")]
        for name, value in summary["published"].items()
    ]
    return Table(["", ""], rows, paragraph("published_note"))


def page(summary: Summary, plots: Plots) -> str:
    """Return the audit's report as HTML that needs nothing else; `plots` are by boundary and name, "zero-maps"."""
    height, width = summary["preprocessing"]["frame"]
    edges = [f"{name}: {boundaries.get(name).describe(width, height)}" for name in summary["metrics"]]
    return render(
        "audit.html",
        summary=summary,
        answer=sentences("audit", summary=summary),
        metrics=_metrics(summary["metrics"], "metric", paragraph("audit_note", summary=summary, edges=edges)),
        published=_published(summary) if summary["published"] else None,
        plots=embed(plots),
    )


def comparison_table(summaries: Mapping[str, Summary], differences: Tests) -> str:
    """Return all metrics of all models in each boundary, then their differences, for a terminal."""
    first = next(iter(summaries.values()))
    parts = []
    for boundary in first["metrics"]:
        parts += [_side_by_side(summaries, boundary).text(), _differences(differences[boundary]).text()]
    return "\n".join([*parts, paragraph("extent", summary=first), paragraph("tests_note")])


def _side_by_side(summaries: Mapping[str, Summary], boundary: str) -> Table:
    metrics = {label: summary["metrics"][boundary] for label, summary in summaries.items()}
    return _metrics(metrics, f"boundary {boundary}")


def _differences(tests: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            f"{test['first']} less {test['second']}: {registry.get(test['metric']).label}",
            points(test["difference"], test["metric"]),
            points_interval(test, test["metric"]),
            p_value(test["p_holm"]),
        ]
        for test in tests
    ]
    return Table(["difference in points", "", "95% interval", "after Holm"], rows, paragraph("tests_note"))


def comparison_page(summaries: Mapping[str, Summary], differences: Tests, plots: Plots) -> str:
    """Return audits side by side, as one HTML file; `plots` are by boundary and name, "zero-maps"."""
    first = next(iter(summaries.values()))
    return render(
        "comparison.html",
        summaries=summaries,
        extent=paragraph("extent", summary=first),
        metrics={boundary: _side_by_side(summaries, boundary) for boundary in first["metrics"]},
        differences={boundary: _differences(tests) for boundary, tests in differences.items()},
        plots=embed(plots),
    )
