"""The study as people read it: its tables in Markdown, its answer in sentences, and its page.

`summary` is the decide stage's, the content of metrics/study.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shiftlab.metrics.intervals import Effect, effect
from shiftlab.reports import numbers
from shiftlab.reports.blocks import CONTRAST_COLOURS, Plots, Table, embed, load_yaml, paragraph, render, sentences
from shiftlab.reports.names import data_name

POINT = 1.0  # percentage points: the smallest effect of interest
BASELINE = "max"  # the variant that is changed in one setting at a time
REFERENCES = (BASELINE, "resnet")  # the same for the ResNet, which has a setting that the baseline lacks
LARGEST_CHANGES = 10  # in the table of changes
VARIANT_METRICS = {  # by boundary: the columns of the table of variants
    "zero": ("clean", "right5", "random5"),
    "circular": ("consistency", "corrected_consistency"),
    "canvas": ("random5", "consistency"),
}

Summary = Mapping[str, Any]
Variant = Mapping[str, Any]
Contrast = Mapping[str, Any]


def tables(summary: Summary) -> str:
    """Return the verdicts and contrasts, the changes and every variant's metrics, as tables in Markdown."""
    parts = (verdicts_table(summary), contrasts_table(summary), changes_table(summary), variants_table(summary))
    return "\n".join(table.markdown() for table in parts if table)


def verdicts(summary: Summary) -> str:
    """Return the answer in sentences and each claim's verdict, in Markdown."""
    return "\n\n".join([*answer(summary), verdicts_table(summary, noted=False).markdown()])


def page(summary: Summary, plots: Plots) -> str:
    """Return the study's own page, as HTML that needs nothing else; `plots` is what `study_plots.of_study` gives."""
    return render(
        "study.html",
        summary=summary,
        answer=answer(summary),
        changes=changes_table(summary),
        verdicts=verdicts_table(summary),
        contrasts=contrasts_table(summary),
        variants=variants_table(summary),
        published=published_table(summary),
        plots=embed(plots),
    )


def answer(summary: Summary) -> list[str]:
    """Return where invariance comes from, in sentences made from the numbers."""
    changes = single_changes(summary)
    largest: dict[str, Change] = {}  # of each setting
    for change in changes:
        largest.setdefault(change.setting, change)
    small = [change for change in changes if max(abs(change.effect.low), abs(change.effect.high)) < POINT / 100]
    notebook = [
        (claim["verdict"], claim["says"].rstrip(".") + which_way(claim))
        for claim in summary["claims"]
        if "notebook" in claim["by"]
    ]
    return sentences("study", changes=changes, largest=list(largest.values()), small=small, notebook=notebook)


def which_way(claim: Mapping[str, Any]) -> str:
    """Return, where a verdict depends, on what, and which way each primary contrast went; else nothing."""
    if claim["verdict"] != "depends":
        return ""
    ways = {
        verdict: [contrast["on"] for contrast in claim["contrasts"] if contrast["verdict"] == verdict]
        for verdict in CONTRAST_COLOURS
    }
    return ": " + ", ".join(f"{verdict} for {numbers.enumerated(on)}" for verdict, on in ways.items() if on)


def verdicts_table(summary: Summary, noted: bool = True) -> Table:
    """Return each claim's verdict, with a note on how it is reached."""
    rows = [[claim["says"], claim["by"], f"**{claim['verdict']}**{which_way(claim)}"] for claim in summary["claims"]]
    note = paragraph("verdicts_note", summary=summary, point=POINT) if noted else ""
    return Table(["claim", "made by", "verdict"], rows, note)


def contrasts_table(summary: Summary) -> Table:
    """Return every contrast of every claim."""
    rows = [
        [
            claim["claim"] if place == 0 else "",
            contrast_label(contrast),
            metric_label(contrast),
            "=" if contrast["exactly"] is not None else contrast["sign"],
            f"{numbers.points(contrast['difference'])} {numbers.points_interval(contrast)}".rstrip(),
            p_value_label(contrast),
            f"**{contrast['verdict']}**" if contrast["verdict"] else "",
        ]
        for claim in summary["claims"]
        for place, contrast in enumerate(claim["contrasts"])
    ]
    heads = ["claim", "contrast", "metric, boundary", "claimed", "difference (points)", "p after Holm", "verdict"]
    return Table(heads, rows)


def variants_table(summary: Summary) -> Table:
    """Return every variant's metrics and cost."""
    columns = [(metric, boundary) for boundary, metrics in VARIANT_METRICS.items() for metric in metrics]
    rows = []
    for variant in summary["variants"]:
        metrics = [_metric(variant, metric, boundary) for metric, boundary in columns]
        costs = [numbers.with_commas(variant[cost]) for cost in ("parameters", "multiply_adds")]
        rows.append([label(variant["variant"]), *metrics, *costs])
    heads = ["variant", *map(", ".join, columns), "parameters", "multiply-adds"]
    return Table(heads, rows, paragraph("variants_note", summary=summary))


def _metric(variant: Variant, metric: str, boundary: str) -> str:
    """Return a metric in %, with half of its intervals over seeds and images; a dash where it was not measured."""
    if not variant["metrics"].get(boundary):
        return "-"
    value = variant["metrics"][boundary][metric]
    if value["mean"] is None:
        return numbers.UNDEFINED
    by_seeds = None if value["high"] is None else (value["high"] - value["low"]) / 2
    return numbers.over_seeds_and_images(value["mean"], by_seeds, value["images"])


class Change(NamedTuple):
    """A variant that differs from a reference in one setting, and what that does to accuracy within 5 px."""

    setting: str
    description: str
    before: float  # the reference's accuracy, in 0..1 as all others
    accuracy: float
    effect: Effect  # after less before
    consistency: float | None  # under circular shifts

    @property
    def points(self) -> str:
        """The difference in percentage points, with half of its interval."""
        return f"{100 * self.effect.difference:+.1f} ±{100 * (self.effect.high - self.effect.low) / 2:.1f}"


def single_changes(summary: Summary) -> list[Change]:
    """Return all changes of one setting, the largest effects first, whatever their sign.

    A change is a variant that differs in exactly one setting, augmentation included, from a variant in REFERENCES.
    """
    variants = {variant["variant"]: variant for variant in summary["variants"] if "zero" in variant["metrics"]}
    references = [variants[name] for name in REFERENCES if name in variants and len(summary["seeds"]) > 1]
    changes = []
    for reference in references:
        for variant in variants.values():
            first, second = _all_settings(variant), _all_settings(reference)
            different = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
            if len(different) == 1:
                changes.append(_change(variant, reference, different[0]))
    return sorted(changes, key=lambda change: -abs(change.effect.difference))


def _all_settings(variant: Variant) -> dict[str, Any]:
    return settings(variant) | {name: variant[name] for name in ("recipe", "lr", "batch_size", "epochs")}


def _change(variant: Variant, reference: Variant, setting: str) -> Change:
    after, before = _accuracy(variant), _accuracy(reference)
    difference = effect([(1, after["values"]), (-1, before["values"])])
    description = _describe_change(variant, reference, setting)
    if reference["variant"] != BASELINE:
        architecture = _describe("architecture", reference["architecture"])
        description += f" ({architecture}, from {numbers.percent(before['mean'])}%)"
    return Change(setting, description, before["mean"], after["mean"], difference, _consistency(variant))


def _describe_change(variant: Variant, reference: Variant, setting: str) -> str:
    augmentation = variant["augmentation"]
    if setting == "augmentation" and augmentation["kind"] != "none":
        return f"training on moved images (up to {augmentation['pixels']} px)"
    after, before = ({**settings(of), **of}.get(setting) for of in (variant, reference))
    return f"{_describe(setting, after)} instead of {_describe(setting, before).removesuffix(f' {_noun(setting)}')}"


def _describe(setting: str, value: Any) -> str:
    return load_yaml("settings.yaml")["values"].get(setting, {}).get(value) or f"{value} {_noun(setting)}"


def _noun(setting: str) -> str:
    return str(load_yaml("settings.yaml")["nouns"].get(setting, setting))


def changes_table(summary: Summary) -> Table | None:
    """Return the baseline and the single changes with the largest effects, by effect; none without a baseline."""
    baseline = next((variant for variant in summary["variants"] if variant["variant"] == BASELINE), None)
    if baseline is None or "zero" not in baseline["metrics"]:
        return None
    values, changes = settings(baseline), single_changes(summary)
    parts = ", ".join(_describe(name, values[name]) for name in ("downsampling", "head") if name in values)
    rows = [(f"baseline: {parts}", _accuracy(baseline)["mean"], "", _consistency(baseline))]
    largest = sorted(changes[:LARGEST_CHANGES], key=lambda change: -change.effect.difference)
    rows += [(change.description, change.accuracy, change.points, change.consistency) for change in largest]
    cells = [[name, numbers.percent(accuracy), by, numbers.percent(same, "-")] for name, accuracy, by, same in rows]
    facts = {"data": data_name(summary["data"]), "shown": LARGEST_CHANGES, "count": len(changes)}
    note = paragraph("changes_note", summary=summary, **facts)
    return Table(("change", "within 5 px, %", "difference", "consistent, %"), cells, note)


def _accuracy(variant: Variant) -> Any:
    """Return a variant's accuracy within 5 px, by which changes are ranked: its "values" and their "mean"."""
    return variant["metrics"]["zero"]["random5"]


def _consistency(variant: Variant) -> Any:
    return variant["metrics"]["circular"]["consistency"]["mean"]


def settings(variant: Variant) -> dict[str, Any]:
    """Return what a variant is put together from and learns from, by the names that parameters have."""
    kind, pixels = variant["augmentation"]["kind"], variant["augmentation"]["pixels"]
    augmentation = "none" if kind == "none" else f"{kind} up to {pixels}"
    parts = {"architecture": variant["architecture"], **variant["components"]}
    return {**parts, "augmentation": augmentation, "canvas": variant["canvas"]}


def contrast_label(contrast: Contrast) -> str:
    """Return what is compared with what."""
    first = label(contrast["first"])
    if contrast["exactly"] is not None:
        return f"{first}: exactly {100 * contrast['exactly']:g}%"
    if contrast["second_metric"]:
        return f"{first}: {contrast['metric']} less {contrast['second_metric']}"
    difference = f"{first} less {label(contrast['second'])}"
    if contrast["larger_than"]:
        return f"({difference}) less ({' less '.join(map(label, contrast['larger_than']))})"
    return difference


def metric_label(contrast: Contrast) -> str:
    """Return the metric that a contrast compares, and in which boundary."""
    return f"{contrast['metric']}, {contrast['boundary']}"


def p_value_label(contrast: Contrast) -> str:
    """Return the corrected p-value of a primary contrast; that it is secondary of any other."""
    return "secondary" if contrast["secondary"] else numbers.p_value(contrast["p_holm"])


def label(variant: str) -> str:
    """Return a variant's name for people."""
    return variant.replace("_", " ")


def published_table(summary: Summary) -> Table | None:
    """Return what others have published beside ours, where the study has it; none on other data."""
    variants = {variant["variant"]: variant for variant in summary["variants"]}
    rows = [
        [entry["source"], entry["result"], _measured(entry["measured"], variants), entry["reason"]]
        for entry in load_yaml("published.yaml")["variants"]
        if entry["data"] == summary["data"] and all(name in variants for name, _, _ in entry["measured"])
    ]
    return Table(["source", "published", "here", "why they may differ"], rows) if rows else None


def _measured(columns: Sequence[Sequence[str]], variants: Mapping[str, Variant]) -> str:
    return numbers.enumerated(
        f"{label(name)} {100 * variants[name]['metrics'][boundary][metric]['mean']:.2f}% ({metric}, {boundary})"
        for name, metric, boundary in columns
    )
