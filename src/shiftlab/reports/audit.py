"""An audit as people read it: a table for a terminal, an answer in words, and its page.

Everything here takes the audit's summary, the content of metrics.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftlab.metrics import registry
from shiftlab.reports.blocks import Table, embed, render
from shiftlab.reports.numbers import enumerated, p_value, points, points_interval, with_interval
from shiftlab.shifts import boundaries

CORRECTED = (
    "Corrected consistency is what lies beyond chance, 0 at chance and 100 where the same images fail everywhere"
)
PAIRWISE = "; pairwise accuracy is the share of pairs of shifts at which an image is right both times"
TESTS = (
    "Differences on the same images: McNemar's exact test for accuracies, a paired bootstrap over images (and shifts, "
    "where they were drawn) for the others."
)

Summary = Mapping[str, Any]
Tests = Mapping[str, Sequence[Mapping[str, Any]]]  # by boundary


class Picture(bytes):
    """A PNG, which a notebook shows."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


def table(summary: Summary) -> str:
    """Return all metrics for a terminal, with 95% intervals and a column for each boundary; then the thresholds."""
    parts = [_metrics(summary["metrics"]).text()]
    if summary["published"]:
        parts.append(f"{summary['protocol']['published']}\n{_published(summary).text()}")
    parts.append("\n".join([extent(summary), *map(threshold_in_words, summary["thresholds"])]))
    return "\n".join(parts)


def _metrics(columns: Mapping[str, Mapping[str, Mapping[str, float | None]]], head: str = "") -> Table:
    """Return all metrics, a column for each boundary, or for each model."""
    names = next(iter(columns.values()))
    rows = [
        [registry.get(name).label, *(with_interval(metrics[name], name) for metrics in columns.values())]
        for name in names
    ]
    return Table([head, *columns], rows)


def _published(summary: Summary) -> Table:
    """Return a published protocol's metrics, of which those named as sensitivities are distances."""
    rows = [
        [name, with_interval(value, "euclidean" if name.startswith("sensitivity") else name)]
        for name, value in summary["published"].items()
    ]
    return Table(
        ["", ""],
        rows,
        "To be stood beside that paper's numbers; the metrics above are exact over all pairs of shifts measured.",
    )


def extent(summary: Summary) -> str:
    """Return what was measured, in one sentence."""
    protocol, data = summary["protocol"], summary["data"]
    shifts = (
        f"all {protocol['shifts']:,}"
        if protocol["shifts"] == protocol["of_shifts"]
        else f"{protocol['shifts']:,} of {protocol['of_shifts']:,} (all within 3 pixels, and some drawn)"
    )
    images = f"{data['images']:,}" if data["images"] == data["of"] else f"{data['images']:,} of {data['of']:,}, drawn,"
    return (
        f"In % but for distances, with 95% intervals: {images} images of {data['name']}, {shifts} shifts of up to "
        f"{protocol['radius']} pixels along each axis."
    )


def threshold_in_words(outcome: Mapping[str, Any]) -> str:
    """Return what came of a threshold."""
    verdict = "held" if outcome["held"] else "FAILED"
    value, least = 100 * outcome["value"], 100 * outcome["least"]
    return f"{verdict}: {outcome['boundary']}.{outcome['metric']} is {value:.2f}%, at least {least:g}% asked"


def answer(summary: Summary) -> list[str]:
    """Return what the numbers say, in sentences."""
    name = summary["model"]["name"]
    sentences = []
    for boundary, metrics in summary["metrics"].items():
        said = {key: with_interval(value, key) for key, value in metrics.items()}
        agree = f"two shifts of an image get the same answer in {said['consistency']} %"
        if "clean" not in metrics:
            sentences.append(f"Boundary {boundary}, {name}: {agree}.")
            continue
        sentences.append(
            f"Boundary {boundary}, {name}: {said['clean']} % right on the images as they are, {said['random5']} % "
            f"moved by up to 5 pixels; {agree} ({said['consistency_by_chance']} % if errors were drawn anew for each)."
        )
    failed = [outcome for outcome in summary["thresholds"] if not outcome["held"]]
    if summary["thresholds"]:
        every = enumerated(map(threshold_in_words, failed or summary["thresholds"]))
        sentences.append(f"{'Not every threshold' if failed else 'Every threshold'} held: {every}.")
    return sentences


def page(summary: Summary, plots: Mapping[str, bytes]) -> str:
    """Return the audit's report as HTML that needs nothing else; `plots` are PNG by boundary and name, "zero-maps"."""
    metrics = _metrics(summary["metrics"], "metric")
    height, width = summary["preprocessing"]["frame"]
    edges = "; ".join(f"{name}: {boundaries.get(name).describe(width, height)}" for name in summary["metrics"])
    note = f"{extent(summary)} {edges}. {CORRECTED}{PAIRWISE if summary['labelled'] else ''}."
    return render(
        "audit.html",
        summary=summary,
        answer=answer(summary),
        metrics=Table(metrics.header, metrics.rows, note),
        published=_published(summary) if summary["published"] else None,
        plots=embed(plots),
    )


def comparison_table(summaries: Mapping[str, Summary], differences: Tests) -> str:
    """Return all metrics of all models in each boundary, then their differences, for a terminal."""
    first = next(iter(summaries.values()))
    parts = [
        block.text()
        for boundary in first["metrics"]
        for block in (_side_by_side(summaries, boundary), _differences(differences[boundary]))
    ]
    return "\n".join([*parts, f"{extent(first)}\n{TESTS}"])


def _side_by_side(summaries: Mapping[str, Summary], boundary: str) -> Table:
    return _metrics(
        {label: summary["metrics"][boundary] for label, summary in summaries.items()}, f"boundary {boundary}"
    )


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
    return Table(["difference in points", "", "95% interval", "after Holm"], rows, TESTS)


def comparison_page(summaries: Mapping[str, Summary], differences: Tests, plots: Mapping[str, bytes]) -> str:
    """Return audits side by side, as one HTML file; `plots` are PNG by boundary and name, "zero-maps"."""
    first = next(iter(summaries.values()))
    return render(
        "comparison.html",
        summaries=summaries,
        extent=extent(first),
        metrics={boundary: _side_by_side(summaries, boundary) for boundary in first["metrics"]},
        differences={boundary: _differences(tests) for boundary, tests in differences.items()},
        plots=embed(plots),
    )
