"""The study as people read it: its tables in Markdown, its answer in words, and its page.

Everything here takes the decide stage's summary, the content of metrics/study.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shiftlab.metrics.intervals import effect
from shiftlab.reports import published
from shiftlab.reports.blocks import CONTRAST_COLOURS, Table, embed, render
from shiftlab.reports.columns import data_name
from shiftlab.reports.numbers import (
    UNDEFINED,
    enumerated,
    over_seeds_and_images,
    p_value,
    percent,
    points,
    points_interval,
)

POINT = 1.0  # percentage points: the smallest effect of interest
MAIN = ("random5", "zero")  # accuracy within 5 px: the metric and boundary by which changes are ranked
BASELINE = "max"  # the variant that is changed in one setting at a time
REFERENCES = (BASELINE, "resnet")  # the same for the ResNet, which has a setting that the baseline lacks
LARGEST_CHANGES = 10  # in the table of changes
VARIANT_COLUMNS = [  # metric and boundary, of the table of variants
    ("clean", "zero"),
    ("right5", "zero"),
    ("random5", "zero"),
    ("consistency", "circular"),
    ("corrected_consistency", "circular"),
    ("random5", "canvas"),
    ("consistency", "canvas"),
]
# What the notebook's claims came to, by verdict, as a sentence begins.
NOTEBOOK = {
    "supported": "What the notebook says and the study supports",
    "contradicted": "What the notebook says and the study contradicts",
    "no effect worth a point": "What the notebook says and has no effect worth a point",
    "depends": "What the notebook says and depends",
    "undecided": "What the notebook says and the study leaves undecided",
}
NOT_YET = (
    "This edition decides by accuracy within 5 px, since agreement within 5 px was not measured. Claims about local "
    "connections, rotation, cropping and the depth of networks are not yet measured; they come with the full rule, "
    "which tests for equivalence and takes more seeds where a claim is undecided."
)
# Settings as newcomers read them, by name and value.
WORDS: Mapping[str, Mapping[Any, str]] = {
    "downsampling": {
        "none": "no pooling",
        "stride": "strides",
        "average": "average pooling",
        "max": "max pooling",
        "larger max": "larger max pooling",
        "blurred max": "blurred max pooling",
        "polyphase max": "polyphase max pooling",
    },
    "padding": {"zero": "zero padding", "circular": "circular padding", "valid": "no padding"},
    "activation": {"relu": "ReLU", "sigmoid": "sigmoid", "gelu": "GELU", "identity": "no activation"},
    "head": {"flatten": "flattened head", "average": "global average head", "max": "global max head"},
    "stem": {"stock": "ImageNet's stem", "small": "small stem"},
    "architecture": {"small": "small CNN", "narrow_resnet": "narrow ResNet-18", "mlp": "MLP"},
}
NOUNS = {"layers": "convolutions"}  # of settings that are not called by their names

Summary = Mapping[str, Any]
Variant = Mapping[str, Any]
Contrast = Mapping[str, Any]


def tables(summary: Summary) -> str:
    """Return the verdicts and contrasts, the changes and every variant's metrics, as tables in Markdown."""
    changes = changes_table(summary)
    every = [
        verdicts_table(summary),
        contrasts_table(summary),
        *([changes] if changes else []),
        variants_table(summary),
    ]
    return "\n".join(table.markdown() for table in every)


def verdicts(summary: Summary) -> str:
    """Return the answer in words and each claim's verdict, in Markdown."""
    return "\n\n".join([*answer(summary), verdicts_table(summary, noted=False).markdown()])


def page(summary: Summary, plots: Mapping[str, bytes]) -> str:
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
    by_setting: dict[str, Change] = {}  # the largest of each
    for change in changes:
        by_setting.setdefault(change.setting, change)
    sentences = []
    if by_setting:
        largest, *others = by_setting.values()
        sentences.append(
            f"Of {len(changes)} changes of a single setting, {largest.words} has the largest effect: it takes accuracy "
            f"within 5 px from {percent(largest.before)} to {percent(largest.accuracy)}%, by {largest.points} points"
            + (f"; next is {others[0].words}, {others[0].points}." if others else ".")
        )
        if others:
            parts = "; ".join(f"{change.words}: {100 * change.difference:+.1f}" for change in others)
            sentences.append(
                f"The largest effects of other settings, in points of that accuracy. {parts[0].upper()}{parts[1:]}."
            )
    small = [change.words for change in changes if max(abs(change.low), abs(change.high)) < POINT / 100]
    if small:
        sentences.append(f"Not worth a point: {'; '.join(small)}.")
    for verdict, words in NOTEBOOK.items():
        says = [
            claim["says"].rstrip(".") + which_way(claim)
            for claim in summary["claims"]
            if "notebook" in claim["by"] and claim["verdict"] == verdict
        ]
        sentences += [f"{words}: {'; '.join(says)}."] if says else []
    return sentences


def which_way(claim: Mapping[str, Any]) -> str:
    """Return, where a verdict depends, on what, and which way each primary contrast went; else nothing."""
    if claim["verdict"] != "depends":
        return ""
    ways = {
        verdict: [contrast["on"] for contrast in claim["contrasts"] if contrast["verdict"] == verdict]
        for verdict in CONTRAST_COLOURS
    }
    return ": " + ", ".join(f"{verdict} for {enumerated(on)}" for verdict, on in ways.items() if on)


def verdicts_table(summary: Summary, noted: bool = True) -> Table:
    """Return each claim's verdict, with a note on how it is reached."""
    note = (
        f"Differences of means over {len(summary['seeds'])} seeds on {summary['data']}, in percentage points, with "
        "Welch's 95% t-intervals; p-values after Holm's correction over all primary contrasts. Supported or "
        f"contradicted: p below 0.05, the sign as claimed or against it, and the interval not within ±{POINT:g} point; "
        "no effect worth a point: the interval within that; undecided: anything else. A claim needs all of its primary "
        "contrasts: it depends where all are decided and do not agree, and is undecided where one is. Secondary "
        f"contrasts decide nothing. {NOT_YET}"
    )
    rows = [[claim["says"], claim["by"], f"**{claim['verdict']}**{which_way(claim)}"] for claim in summary["claims"]]
    return Table(["claim", "made by", "verdict"], rows, note if noted else "")


def contrasts_table(summary: Summary) -> Table:
    """Return every contrast of every claim."""
    rows = [
        [
            claim["claim"] if place == 0 else "",
            *(contrast_in_words(contrast), metric_in_words(contrast)),
            "=" if contrast["exactly"] is not None else contrast["sign"],
            *(effect_in_words(contrast), test_in_words(contrast)),
            f"**{contrast['verdict']}**" if contrast["verdict"] else "",
        ]
        for claim in summary["claims"]
        for place, contrast in enumerate(claim["contrasts"])
    ]
    heads = ["claim", "contrast", "metric, boundary", "claimed", "difference (points)", "p after Holm", "verdict"]
    return Table(heads, rows)


def variants_table(summary: Summary) -> Table:
    """Return every variant's metrics and cost."""
    heads = ["variant", *(f"{metric}, {boundary}" for metric, boundary in VARIANT_COLUMNS)]
    rows = [
        [
            label(variant["variant"]),
            *(_metric(variant, *column) for column in VARIANT_COLUMNS),
            *(f"{variant['parameters']:,}", f"{variant['multiply_adds']:,}"),
        ]
        for variant in summary["variants"]
    ]
    note = (
        f"In %, means over {len(summary['seeds'])} seeds, with half of the 95% interval over seeds, s, and over "
        f"images, i; the wider is bold. Consistency over {summary['shifts']} drawn shifts of up to "
        f"{summary['radius']} pixels of {summary['images']:,} test images, the others on all test images."
    )
    return Table([*heads, "parameters", "multiply-adds"], rows, note)


def _metric(variant: Variant, metric: str, boundary: str) -> str:
    """Return a metric in %, with half of its intervals over seeds and images; a dash where it was not measured."""
    if not variant["metrics"].get(boundary):
        return "-"
    value = variant["metrics"][boundary][metric]
    if value["mean"] is None:
        return UNDEFINED
    by_seeds = None if value["high"] is None else (value["high"] - value["low"]) / 2
    return over_seeds_and_images(value["mean"], by_seeds, value["images"])


class Change(NamedTuple):
    """A variant that differs from a reference in one setting, and what that does to accuracy within 5 px."""

    setting: str
    words: str
    before: float  # the reference's accuracy, in 0..1 as all others
    accuracy: float
    difference: float
    low: float  # Welch's 95% interval
    high: float
    consistency: float | None  # under circular shifts

    @property
    def points(self) -> str:
        """The difference in percentage points, with half of its interval."""
        return f"{100 * self.difference:+.1f} ±{100 * (self.high - self.low) / 2:.1f}"


def single_changes(summary: Summary) -> list[Change]:
    """Return all changes of one setting, the largest effects first, whatever their sign.

    A change is a variant that differs in exactly one setting, augmentation included, from a variant in REFERENCES.
    """
    variants = {variant["variant"]: variant for variant in summary["variants"] if MAIN[1] in variant["metrics"]}
    changes = [
        _change(variant, variants[name], different[0])
        for name in REFERENCES
        if name in variants and len(summary["seeds"]) > 1
        for variant in variants.values()
        if len(different := _different_settings(variant, variants[name])) == 1
    ]
    return sorted(changes, key=lambda change: -abs(change.difference))


def _different_settings(variant: Variant, reference: Variant) -> list[str]:
    first, second = (
        {**settings(each), **{name: each[name] for name in ("recipe", "lr", "batch_size", "epochs")}}
        for each in (variant, reference)
    )
    return [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]


def _change(variant: Variant, reference: Variant, setting: str) -> Change:
    after, before = _main(variant), _main(reference)
    welch = effect([(1, after["values"]), (-1, before["values"])])
    words = _change_in_words(variant, reference, setting)
    if reference["variant"] != BASELINE:
        words += f" ({_setting_in_words('architecture', reference['architecture'])}, from {percent(before['mean'])}%)"
    ends = (welch.difference, welch.low, welch.high)
    return Change(setting, words, before["mean"], after["mean"], *ends, _consistency(variant))


def _setting_in_words(setting: str, value: Any) -> str:
    return WORDS.get(setting, {}).get(value) or f"{value} {NOUNS.get(setting, setting)}"


def _change_in_words(variant: Variant, reference: Variant, setting: str) -> str:
    augmentation = variant["augmentation"]
    if setting == "augmentation" and augmentation["kind"] != "none":
        return f"training on moved images (up to {augmentation['pixels']} px)"
    after, before = ({**settings(each), **each}.get(setting) for each in (variant, reference))
    instead = _setting_in_words(setting, before).removesuffix(f" {NOUNS.get(setting, setting)}")
    return f"{_setting_in_words(setting, after)} instead of {instead}"


def changes_table(summary: Summary, count: int = LARGEST_CHANGES) -> Table | None:
    """Return the baseline and the single changes with the largest effects, by effect; none without a baseline."""
    baseline = next((variant for variant in summary["variants"] if variant["variant"] == BASELINE), None)
    if baseline is None or MAIN[1] not in baseline["metrics"]:
        return None
    values = settings(baseline)
    words = ", ".join(_setting_in_words(name, values[name]) for name in ("downsampling", "head") if name in values)
    changes = single_changes(summary)
    rows = [
        [f"baseline: {words}", percent(_main(baseline)["mean"]), "", percent(_consistency(baseline), "-")],
        *(
            [change.words, percent(change.accuracy), change.points, percent(change.consistency, "-")]
            for change in sorted(changes[:count], key=lambda change: -change.difference)
        ),
    ]
    which = f"the {count} largest of {len(changes)}" if len(changes) > count else f"all {len(changes)}"
    note = (
        f"Changes of one setting of a small CNN (of a narrow ResNet-18 where that is named), {which}, on "
        f"{data_name(summary['data'])}, means over {len(summary['seeds'])} seeds. Within 5 px: accuracy with each test "
        "image moved by up to 5 pixels along each axis (random5). Difference: in points, with Welch's 95% interval. "
        f"Consistent: called the same at two circular shifts of up to {summary['radius']} pixels."
    )
    return Table(("change", "within 5 px, %", "difference", "consistent, %"), rows, note)


def where_from(summary: Summary, count: int = LARGEST_CHANGES) -> str:
    """Return the table of changes in Markdown; empty without the baseline."""
    table = changes_table(summary, count)
    return table.markdown() if table else ""


def _main(variant: Variant) -> Mapping[str, Any]:
    """Return a variant's accuracy within 5 px."""
    metric, boundary = MAIN
    accuracy: Mapping[str, Any] = variant["metrics"][boundary][metric]
    return accuracy


def _consistency(variant: Variant) -> float | None:
    value: float | None = variant["metrics"]["circular"]["consistency"]["mean"]
    return value


def settings(variant: Variant) -> dict[str, Any]:
    """Return what a variant is put together from and learns from, by the names that parameters have."""
    moved = variant["augmentation"]
    learned = "none" if moved["kind"] == "none" else f"{moved['kind']} up to {moved['pixels']}"
    return {
        "architecture": variant["architecture"],
        **variant["components"],
        "augmentation": learned,
        "canvas": variant["canvas"],
    }


def contrast_in_words(contrast: Contrast) -> str:
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


def effect_in_words(contrast: Contrast) -> str:
    """Return a difference in points with its interval."""
    return f"{points(contrast['difference'])} {points_interval(contrast)}".rstrip()


def test_in_words(contrast: Contrast) -> str:
    """Return the corrected p-value of a primary contrast; that it is secondary of any other."""
    return "secondary" if contrast["secondary"] else p_value(contrast["p_holm"])


def metric_in_words(contrast: Contrast) -> str:
    """Return the metric that a contrast compares, and in which boundary."""
    return f"{contrast['metric']}, {contrast['boundary']}"


def label(variant: str) -> str:
    """Return a variant's name for people."""
    return variant.replace("_", " ")


def published_table(summary: Summary) -> Table | None:
    """Return what others have published beside ours, where the study has it; none on other data."""
    variants = {variant["variant"]: variant for variant in summary["variants"]}
    rows = [
        [entry["source"], entry["theirs"], _ours(entry["ours"], variants), entry["reason"]]
        for entry in published.entries("variants")
        if entry["data"] == summary["data"] and all(name in variants for name, _, _ in entry["ours"])
    ]
    return Table(["source", "published", "here", "why they may differ"], rows) if rows else None


def _ours(columns: Sequence[Sequence[str]], variants: Mapping[str, Variant]) -> str:
    return enumerated(
        f"{label(name)} {100 * variants[name]['metrics'][boundary][metric]['mean']:.2f}% ({metric}, {boundary})"
        for name, metric, boundary in columns
    )
