"""The study as people read it: its tables in Markdown, its answer in words, and its page.

Everything here takes the decide stage's summary, the content of metrics/study.json.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shiftlab.metrics.intervals import effect
from shiftlab.reports.columns import data_name
from shiftlab.reports.pages import both_intervals, enumerated, inline, probability, template

# Colours of verdicts that people who see no red and green tell apart (Okabe and Ito 2008): of contrasts, of claims.
CONTRAST_COLOURS = {
    "supported": "#009e73",
    "contradicted": "#d55e00",
    "no effect worth a point": "#0072b2",
    "undecided": "#7f7f7f",
    "secondary": "#b8b8b8",
}
COLOURS = {**CONTRAST_COLOURS, "depends": "#cc79a7"}
# What two of the pictures show, for those who read them or hear them read.
EFFECTS = (
    "Every contrast of every claim on one axis. A contrast whose interval lies within the grey band has no effect "
    "worth a point. Hollow: secondary contrasts, which decide nothing."
)
PLANE = (
    "Every variant on images as they are, in the plane of accuracy unshifted and consistency under circular shifts. "
    "The colour is the cost of a forward pass."
)
POINT = 1.0  # percentage points: the smallest effect of interest
MAIN = ("random5", "zero")  # accuracy within 5 px: the metric and boundary by which changes are ranked
BASELINE = "max"  # the variant that is changed in one setting at a time
REFERENCES = (BASELINE, "resnet")  # the same for the ResNet, which has a setting that the baseline lacks
SHOWN = [  # metric and boundary, of the table of variants
    ("clean", "zero"),
    ("right5", "zero"),
    ("random5", "zero"),
    ("consistency", "circular"),
    ("corrected_consistency", "circular"),
]

Summary = Mapping[str, Any]
Variant = Mapping[str, Any]


def tables(summary: Summary) -> str:
    """The verdicts, and every variant's metrics, as tables in Markdown with a sentence on each."""
    lines = [
        "| claim | made by | verdict | contrast | metric | difference (points) | p after Holm |",
        "|---|" + "---|" * 6,
    ]
    for claim in summary["claims"]:
        for place, one in enumerate(claim["contrasts"]):
            first = [claim["says"], claim["by"], _verdict(claim)] if place == 0 else ["", "", ""]
            p = in_words_of_test(one)
            cells = [*first, contrast_in_words(one), metric_in_words(one), effect_in_words(one), p]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{verdicts_in_words(summary)} {NOT_YET}", "", where_from(summary)]
    heads = [f"{metric}, {boundary}" for metric, boundary in SHOWN]
    lines += [
        "| variant | " + " | ".join(heads) + " | parameters | multiply-adds |",
        "|---|" + "---|" * (len(SHOWN) + 2),
    ]
    for variant in summary["variants"]:
        cells = [in_words(variant, *shown) for shown in SHOWN]
        cost = f"{variant['parameters']:,} | {variant['multiply_adds']:,}"
        lines.append(f"| {label(variant['variant'])} | {' | '.join(cells)} | {cost} |")
    return "\n".join([*lines, "", variants_in_words(summary)]) + "\n"


def verdicts(summary: Summary) -> str:
    """The answer in words and each claim's verdict, in Markdown."""
    rows = [f"| {claim['says']} | {claim['by']} | {_verdict(claim)} |" for claim in summary["claims"]]
    return (
        "\n\n".join(answer(summary))
        + "\n\n"
        + "\n".join(["| claim | made by | verdict |", "|---|---|---|", *rows])
        + "\n"
    )


def page(summary: Summary, drawn: Mapping[str, bytes]) -> str:
    """The study's own page, as HTML that needs nothing else.

    Args:
        drawn: what `study_plots.of_study` gives.
    """
    return template("study.html").render(
        summary=summary,
        answer=answer(summary),
        where_heads=WHERE,
        where=where_rows(summary),
        where_in_words=where_in_words(summary),
        not_yet=NOT_YET,
        colours=COLOURS,
        which_way=which_way,
        in_words_of_test=in_words_of_test,
        contrast_in_words=contrast_in_words,
        metric_in_words=metric_in_words,
        effect_in_words=effect_in_words,
        in_words=in_words,
        label=label,
        shown=SHOWN,
        verdicts_in_words=verdicts_in_words(summary),
        variants_in_words=variants_in_words(summary),
        effects_in_words=EFFECTS,
        plane_in_words=PLANE,
        published=published(summary),
        pictures=inline(drawn),
    )


def answer(summary: Summary) -> list[str]:
    """Where invariance comes from, in sentences made from the numbers."""
    changes = single_changes(summary)
    largest: dict[str, Change] = {}
    for one in changes:
        largest.setdefault(one.setting, one)
    sentences = []
    if largest:
        most, *others = largest.values()
        sentences.append(
            f"Of {len(changes)} changes of a single setting, {most.words} has the largest effect: it takes accuracy "
            f"within 5 px from {_percent(most.before)} to {_percent(most.accuracy)}%, by {most.points} points"
            + (f"; next is {others[0].words}, {others[0].points}." if others else ".")
        )
        if others:
            parts = "; ".join(f"{one.words}: {100 * one.by:+.1f}" for one in others)
            sentences.append(
                f"The largest effects of other settings, in points of that accuracy. {parts[0].upper()}{parts[1:]}."
            )
    without = [one.words for one in changes if max(abs(one.low), abs(one.high)) < POINT / 100]
    if without:
        sentences.append(f"Not worth a point: {'; '.join(without)}.")
    sentences += [_of_notebook(summary, verdict, words) for verdict, words in NOTEBOOK.items()]
    return [sentence for sentence in sentences if sentence]


NOTEBOOK = {
    "supported": "What the notebook says and the study supports",
    "contradicted": "What the notebook says and the study contradicts",
    "no effect worth a point": "What the notebook says and has no effect worth a point",
    "depends": "What the notebook says and depends",
    "undecided": "What the notebook says and the study leaves undecided",
}


def _of_notebook(summary: Summary, verdict: str, words: str) -> str:
    said = [
        claim["says"].rstrip(".") + which_way(claim)
        for claim in summary["claims"]
        if "notebook" in claim["by"] and claim["verdict"] == verdict
    ]
    return f"{words}: {'; '.join(said)}." if said else ""


def which_way(claim: Mapping[str, Any]) -> str:
    """Where a verdict depends: what on, and which way each primary contrast went; else nothing."""
    if claim["verdict"] != "depends":
        return ""
    ways = {
        verdict: [one["on"] for one in claim["contrasts"] if one["verdict"] == verdict] for verdict in CONTRAST_COLOURS
    }
    return ": " + ", ".join(f"{verdict} for {enumerated(on)}" for verdict, on in ways.items() if on)


def _verdict(claim: Mapping[str, Any]) -> str:
    return f"**{claim['verdict']}**{which_way(claim)}"


class Change(NamedTuple):
    """A variant that differs from a reference in one setting, and what that does to accuracy within 5 px."""

    setting: str
    words: str
    before: float  # the reference's accuracy, in 0..1 as all others
    accuracy: float
    by: float
    low: float  # Welch's 95% interval
    high: float
    consistency: float | None  # under circular shifts

    @property
    def points(self) -> str:
        """The difference in percentage points, with half of its interval."""
        return f"{100 * self.by:+.1f} ±{100 * (self.high - self.low) / 2:.1f}"


def single_changes(summary: Summary) -> list[Change]:
    """All changes of one setting, the largest effects first, whatever their sign.

    A change is a variant that differs in exactly one setting, augmentation included, from a variant in REFERENCES.
    """
    variants = {one["variant"]: one for one in summary["variants"] if MAIN[1] in one["metrics"]}
    changes = [
        _change(variant, variants[name], setting)
        for name in REFERENCES
        if name in variants and len(summary["seeds"]) > 1
        for variant in variants.values()
        for setting in _one_setting(variant, variants[name])
    ]
    return sorted(changes, key=lambda one: -abs(one.by))


def _one_setting(variant: Variant, reference: Variant) -> list[str]:
    """In which one setting they differ; none where they differ in several or in nothing."""
    first, second = [
        {**settings(one), **{name: one[name] for name in ("recipe", "lr", "batch_size", "epochs")}}
        for one in (variant, reference)
    ]
    different = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    return different if len(different) == 1 else []


def _change(variant: Variant, reference: Variant, setting: str) -> Change:
    after, before = _main(variant), _main(reference)
    difference = effect([(1, after["values"]), (-1, before["values"])])
    words = _change_in_words(variant, reference, setting)
    if reference["variant"] != BASELINE:
        words += f" ({_setting_in_words('architecture', reference['architecture'])}, from {_percent(before['mean'])}%)"
    return Change(
        setting,
        words,
        before["mean"],
        after["mean"],
        difference.by,
        difference.low,
        difference.high,
        _consistency(variant),
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


def _setting_in_words(setting: str, value: Any) -> str:
    return WORDS.get(setting, {}).get(value) or f"{value} {NOUNS.get(setting, setting)}"


def _change_in_words(variant: Variant, reference: Variant, setting: str) -> str:
    moved = variant["augmentation"]
    if setting == "augmentation" and moved["kind"] != "none":
        return f"training on moved images (up to {moved['pixels']} px)"
    after, before = ({**settings(one), **one}.get(setting) for one in (variant, reference))
    instead = _setting_in_words(setting, before).removesuffix(f" {NOUNS.get(setting, setting)}")
    return f"{_setting_in_words(setting, after)} instead of {instead}"


WHERE = ("change", "within 5 px, %", "difference", "consistent, %")
SHOWN_CHANGES = 10


def where_rows(summary: Summary, count: int = SHOWN_CHANGES) -> list[list[str]]:
    """The baseline and the single changes with the largest effects, sorted by effect, as cells of a table."""
    for variant in summary["variants"]:
        if variant["variant"] == BASELINE and MAIN[1] in variant["metrics"]:
            chosen = settings(variant)
            words = ", ".join(
                _setting_in_words(name, chosen[name]) for name in ("downsampling", "head") if name in chosen
            )
            first = [f"baseline: {words}", _percent(_main(variant)["mean"]), "", _percent(_consistency(variant))]
            changes = sorted(single_changes(summary)[:count], key=lambda one: -one.by)
            return [
                first,
                *([one.words, _percent(one.accuracy), one.points, _percent(one.consistency)] for one in changes),
            ]
    return []


def where_from(summary: Summary, count: int = SHOWN_CHANGES) -> str:
    """The same as a table in Markdown, with a sentence on it; empty without the baseline."""
    rows = where_rows(summary, count)
    if not rows:
        return ""
    lines = [f"| {' | '.join(cells)} |" for cells in (WHERE, *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(WHERE) - 1))
    return "\n".join([*lines, "", where_in_words(summary, count)]) + "\n"


def where_in_words(summary: Summary, count: int = SHOWN_CHANGES) -> str:
    """What the table of single changes shows."""
    changes = len(single_changes(summary))
    which = f"the {count} largest of {changes}" if changes > count else f"all {changes}"
    return (
        f"Changes of one setting of a small CNN (of a narrow ResNet-18 where that is named), {which}, on "
        f"{data_name(summary['data'])}, means over {len(summary['seeds'])} seeds. Within 5 px: accuracy with each test "
        "image moved by up to 5 pixels along each axis (random5). Difference: in points, with Welch's 95% interval. "
        f"Consistent: called the same at two circular shifts of up to {summary['radius']} pixels."
    )


def _main(variant: Variant) -> Mapping[str, Any]:
    """A variant's accuracy within 5 px."""
    metric, boundary = MAIN
    of_metric: Mapping[str, Any] = variant["metrics"][boundary][metric]
    return of_metric


def _consistency(variant: Variant) -> float | None:
    value: float | None = variant["metrics"]["circular"]["consistency"]["mean"]
    return value


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def settings(variant: Variant) -> dict[str, Any]:
    """What a variant is put together from and learns from, by the names that parameters have."""
    moved = variant["augmentation"]
    learned = "none" if moved["kind"] == "none" else f"{moved['kind']} up to {moved['pixels']}"
    return {
        "architecture": variant["architecture"],
        **variant["components"],
        "augmentation": learned,
        "canvas": variant["canvas"],
    }


def contrast_in_words(one: Mapping[str, Any]) -> str:
    """What is compared with what."""
    if one["exactly"] is not None:
        return f"{label(one['first'])}: exactly {100 * one['exactly']:g}%"
    if one["second_metric"]:
        return f"{label(one['first'])}: {one['metric']} less {one['second_metric']}"
    difference = f"{label(one['first'])} less {label(one['second'])}"
    if one["larger_than"]:
        return f"({difference}) less ({label(one['larger_than'][0])} less {label(one['larger_than'][1])})"
    return difference


def effect_in_words(one: Mapping[str, Any]) -> str:
    """A difference in points with its interval."""
    if one["by"] is None:
        return "undefined"
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * one[key] for key in ("by", "low", "high")))


def in_words_of_test(one: Mapping[str, Any]) -> str:
    """The corrected p-value of a primary contrast; that it is secondary of any other."""
    return "secondary" if one["secondary"] else probability(one["corrected"])


def label(variant: str) -> str:
    """A variant's name for people."""
    return variant.replace("_", " ")


def in_words(variant: Variant, metric: str, boundary: str) -> str:
    """A metric in %, with half of its intervals over seeds and images; a dash where it was not measured."""
    of_boundary = variant["metrics"].get(boundary)
    if not of_boundary:
        return "-"
    one = of_boundary[metric]
    if one["mean"] is None:
        return "undefined"
    if one["high"] is None:
        return f"{100 * one['mean']:.2f} (i ±{100 * one['images']:.2f})"
    return both_intervals(100 * one["mean"], 100 * (one["high"] - one["low"]) / 2, 100 * one["images"])


def verdicts_in_words(summary: Summary) -> str:
    """What the table of verdicts shows."""
    return (
        f"Differences of means over {len(summary['seeds'])} seeds on {summary['data']}, in percentage points, with "
        "Welch's 95% t-intervals; p-values after Holm's correction over all primary contrasts. Supported or "
        f"contradicted: p below 0.05, the sign as claimed or against it, and the interval not within ±{POINT:g} point; "
        "no effect worth a point: the interval within that; undecided: anything else. A claim needs all of its primary "
        "contrasts: it depends where all are decided and do not agree, and is undecided where one is. Secondary "
        "contrasts decide nothing."
    )


NOT_YET = (
    "This edition decides by accuracy within 5 px, since agreement within 5 px was not measured. Claims about local "
    "connections, rotation, cropping and the depth of networks are not yet measured; they come with the full rule, "
    "which tests for equivalence and takes more seeds where a claim is undecided."
)


def variants_in_words(summary: Summary) -> str:
    """What the table of variants shows."""
    return (
        f"In %, means over {len(summary['seeds'])} seeds, with half of the 95% interval over seeds, s, and over "
        f"images, i; the wider is bold. Consistency over {summary['shifts']} drawn shifts of up to "
        f"{summary['radius']} pixels of {summary['images']:,} test images, the others on all test images."
    )


def metric_in_words(one: Mapping[str, Any]) -> str:
    """What a contrast compares, and in which boundary."""
    return f"{one['metric']}, {one['boundary']}"


class Published(NamedTuple):
    """What others have found, and which of our metrics, by variant, metric and boundary, stand beside it."""

    source: str
    theirs: str
    reason: str
    ours: list[tuple[str, str, str]]


PUBLISHED = [
    Published(
        "Kauderer-Abrams 2017",
        "training on shifted images matters more than architecture",
        "other networks, shifted MNIST, distances of outputs rather than answers",
        [("dense", "random5", "zero"), ("dense_shifts", "random5", "zero"), ("max_global_max", "random5", "zero")],
    ),
    Published(
        "Mouton et al. 2021",
        "larger kernels and strides in pooling give more invariance and less accuracy",
        "other images, kernels of other sizes, and cosines of outputs rather than answers",
        [("max", "consistency", "circular"), ("larger_max", "consistency", "circular")],
    ),
    Published(
        "Zhang 2019",
        "a blur before subsampling raises ResNet-18's consistency on ImageNet from 85.11 to 88.36%",
        "ImageNet, crops up to 32 of 224 pixels apart, and pairs of shifts drawn for a whole batch",
        [("max_global_max", "consistency", "circular"), ("blurred_global_max", "consistency", "circular")],
    ),
    Published(
        "Biscione & Bowers 2021",
        "invariance is learned from moved images, and can generalise beyond where they were",
        "larger networks, trained on other images before",
        [("canvas_shifts", "distance 3", "canvas"), ("canvas_shifts", "distance 7", "canvas")],
    ),
    Published(
        "CS671, assignment 2",
        "4 pixels to the right: MLP 43.24%, small CNN with a flattened head 69.58%",
        "other layers and recipes",
        [("dense", "right4", "zero"), ("max", "right4", "zero")],
    ),
    Published(
        "slacml-school",
        "on a canvas of 48x48 with offsets of -10 to 9 pixels: CNN with global max pooling 96.57%",
        "another network and recipe; ours moves by up to 10 pixels, in shifts drawn from the grid",
        [("canvas_zero", "grid", "canvas")],
    ),
]


def published(summary: Summary) -> list[dict[str, str]]:
    """What others have found beside ours, where the study has it. All of it is about MNIST, or like it."""
    if summary["data"] != "mnist":
        return []
    variants = {one["variant"]: one for one in summary["variants"]}
    rows = []
    for one in PUBLISHED:
        if all(name in variants for name, _, _ in one.ours):
            ours = enumerated(
                f"{label(name)} {100 * variants[name]['metrics'][boundary][metric]['mean']:.2f}% ({metric}, {boundary})"
                for name, metric, boundary in one.ours
            )
            rows.append({"source": one.source, "theirs": one.theirs, "ours": ours, "reason": one.reason})
    return rows
