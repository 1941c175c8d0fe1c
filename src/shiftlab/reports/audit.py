"""An audit as people read it: a table for a terminal, an answer in words, and its page.

Everything here takes the audit's summary, the content of metrics.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftlab.reports.columns import SUMMARY
from shiftlab.reports.pages import enumerated, inline, probability, template

WORDS = {
    "clean": "accuracy, unshifted",
    "right5": "accuracy, 5 px right",
    "right4": "accuracy, 4 px right",
    "translate3": "accuracy, 3 px along both axes",
    "random5": "accuracy, up to 5 px",
    **{name: column.words for name, column in SUMMARY.items()},
    # Otherwise than in the report, since an audit may measure a sample of the shifts.
    "grid": "accuracy over all shifts",
    "robust_accuracy": "right at every shift within 3 px",
}
DISTANCES = [name for name, column in SUMMARY.items() if not column.percent]
CAPTIONS = {
    "accuracy": "Accuracy against the shift along x, along y and along the diagonal; below, the share of ink (raw "
    "intensity) still in the frame.",
    "maps": "At every shift that was measured: accuracy, and agreement with the answer for the unshifted image, of all "
    "images and of those right unshifted. One colour scale, 0 to 1.",
    "sensitivity": "How far the class probabilities lie from those of the unshifted image, mean over images.",
    "radius": "Mean accuracy at each Chebyshev radius, the share of images right at every shift within it, mean "
    "confidence, and expected calibration error.",
    "classes": "Accuracy of each class at each radius; of many, the worst.",
    "phase": "Accuracy in % by the shift's remainder after division by the period: stripes are aliasing.",
    "fractions": "Accuracy under shifts by parts of a pixel to the right (bilinear).",
    "confusion": "Confusion matrices: rows actual classes, columns predicted ones.",
    "gallery": "Images right at the fewest and at the most shifts; each at the nearest shift at which it is wrong.",
}

Summary = Mapping[str, Any]


class Picture(bytes):
    """A PNG, which a notebook shows."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


def table(summary: Summary) -> str:
    """All metrics, a line each and a column for each boundary, aligned, with 95% intervals; then the thresholds."""
    boundaries = list(summary["metrics"])
    names = list(summary["metrics"][boundaries[0]])
    lines = [["", *boundaries]]
    lines += [
        [WORDS[name], *(in_words(name, summary["metrics"][boundary][name]) for boundary in boundaries)]
        for name in names
    ]
    if summary["published"]:
        lines += [["", *[""] * len(boundaries)], [str(summary["protocol"]["published"]), *[""] * len(boundaries)]]
        lines += [
            [name, published_in_words(name, one), *[""] * (len(boundaries) - 1)]
            for name, one in summary["published"].items()
        ]
    return "\n".join([aligned(lines), "", extent(summary), *map(threshold_in_words, summary["thresholds"])])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(padded)


def in_words(name: str, one: Mapping[str, float | None]) -> str:
    """A metric with its interval: shares in %, distances as they are."""
    if one["value"] is None:
        return "undefined"
    scale, digits = (1, 3) if name in DISTANCES else (100, 1)
    value, low, high = (scale * (one[key] or 0.0) for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def published_in_words(name: str, one: Mapping[str, float | None]) -> str:
    """A published protocol's metric: shares in %, distances as they are."""
    return in_words(DISTANCES[0] if name.startswith("sensitivity") else name, one)


def extent(summary: Summary) -> str:
    """What was measured, in one sentence."""
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


def threshold_in_words(one: Mapping[str, Any]) -> str:
    """What came of a threshold."""
    verdict = "held" if one["held"] else "FAILED"
    value, least = 100 * one["value"], 100 * one["least"]
    return f"{verdict}: {one['boundary']}.{one['metric']} is {value:.2f}%, at least {least:g}% asked"


def answer(summary: Summary) -> list[str]:
    """What the numbers say, in sentences."""
    name = summary["model"]["name"]
    sentences = []
    for boundary, metrics in summary["metrics"].items():
        said = {key: in_words(key, one) for key, one in metrics.items()}
        agree = f"two shifts of an image get the same answer in {said['consistency']} %"
        if "clean" not in metrics:
            sentences.append(f"Boundary {boundary}, {name}: {agree}.")
            continue
        sentences.append(
            f"Boundary {boundary}, {name}: {said['clean']} % right on the images as they are, {said['random5']} % "
            f"moved by up to 5 pixels; {agree} ({said['consistency_by_chance']} % if errors were drawn anew for each)."
        )
    failed = [one for one in summary["thresholds"] if not one["held"]]
    if summary["thresholds"]:
        every = enumerated(map(threshold_in_words, failed or summary["thresholds"]))
        sentences.append(f"{'Not every threshold' if failed else 'Every threshold'} held: {every}.")
    return sentences


def page(summary: Summary, pictures: Mapping[str, bytes]) -> str:
    """The audit's report as HTML that needs nothing else.

    Args:
        pictures: PNG by boundary and name, as "zero-maps".
    """
    return template("audit.html").render(
        summary=summary,
        answer=answer(summary),
        boundaries=list(summary["metrics"]),
        names=list(next(iter(summary["metrics"].values()))),
        words=WORDS,
        captions={f"{boundary}-{name}": words for boundary in summary["metrics"] for name, words in CAPTIONS.items()},
        in_words=in_words,
        extent=extent(summary),
        threshold_in_words=threshold_in_words,
        published_in_words=published_in_words,
        pictures=inline(pictures),
    )


def comparison_table(summaries: Mapping[str, Summary], differences: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All metrics of all models for each boundary, then their differences, aligned."""
    text = []
    first = next(iter(summaries.values()))
    for boundary, metrics in first["metrics"].items():
        lines = [[f"boundary {boundary}", *summaries]]
        lines += [
            [WORDS[name], *(in_words(name, one["metrics"][boundary][name]) for one in summaries.values())]
            for name in metrics
        ]
        text += [aligned(lines), ""]
        lines = [["difference in points", "", "95% interval", "after Holm"]]
        lines += [
            [f"{one['first']} less {one['second']}: {WORDS[one['metric']]}", *difference_in_words(one)]
            for one in differences[boundary]
        ]
        text += [aligned(lines), ""]
    return "\n".join([*text, extent(first), TESTS])


TESTS = (
    "Differences on the same images: McNemar's exact test for accuracies, a paired bootstrap over images (and shifts, "
    "where they were drawn) for the others."
)


def difference_in_words(one: Mapping[str, Any]) -> list[str]:
    """By how much, between what, and how sure."""
    interval = "" if one["low"] is None else f"[{100 * one['low']:+.2f}, {100 * one['high']:+.2f}]"
    return [f"{100 * one['by']:+.2f}", interval, probability(one["corrected"])]


def comparison_page(
    summaries: Mapping[str, Summary],
    differences: Mapping[str, Sequence[Mapping[str, Any]]],
    pictures: Mapping[str, bytes],
) -> str:
    """Audits side by side, as HTML that needs nothing else.

    Args:
        pictures: PNG by boundary and name, as "zero-maps".
    """
    first = next(iter(summaries.values()))
    return template("comparison.html").render(
        summaries=summaries,
        boundaries=list(first["metrics"]),
        names=list(next(iter(first["metrics"].values()))),
        words=WORDS,
        captions={f"{boundary}-{name}": words for boundary in first["metrics"] for name, words in CAPTIONS.items()},
        in_words=in_words,
        differences=differences,
        difference_in_words=difference_in_words,
        extent=extent(first),
        tests=TESTS,
        pictures=inline(pictures),
    )
