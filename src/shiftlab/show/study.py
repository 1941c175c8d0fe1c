"""The study as people read it: its tables in Markdown, its answer in words, and its page.

Everything here takes the decide stage's summary, the content of metrics/study.json.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shiftlab.show.pages import both_intervals, enumerated, inline, probability, template

# Colours of verdicts that people who see no red and green tell apart (Okabe and Ito 2008).
COLOURS = {
    "supported": "#009e73",
    "contradicted": "#d55e00",
    "no effect worth a point": "#0072b2",
    "undecided": "#7f7f7f",
}
# What two of the pictures show, for those who read them or hear them read.
EFFECTS = (
    "Every contrast of every claim on one axis. A contrast whose interval lies within the grey band has no effect "
    "worth a point."
)
PLANE = (
    "Every variant on images as they are, in the plane of accuracy unshifted and consistency under circular shifts. "
    "The colour is the cost of a forward pass."
)
POINT = 1.0  # percentage points: the smallest effect of interest
MAIN = ("random5", "zero")  # the figure and regime by which components are ranked
SHOWN = [  # figure and regime, of the table of variants
    ("clean", "zero"),
    ("right5", "zero"),
    ("random5", "zero"),
    ("consistency", "circular"),
    ("corrected consistency", "circular"),
]

Summary = Mapping[str, Any]
Variant = Mapping[str, Any]


def tables(summary: Summary) -> str:
    """The verdicts, and every variant's figures, as tables in Markdown with a sentence on each."""
    lines = [
        "| claim | made by | verdict | contrast | figure | difference (points) | p after Holm |",
        "|---|" + "---|" * 6,
    ]
    for claim in summary["claims"]:
        for place, one in enumerate(claim["contrasts"]):
            first = [claim["says"], claim["by"], f"**{claim['verdict']}**"] if place == 0 else ["", "", ""]
            cells = [
                *first,
                contrast_in_words(one),
                figure_in_words(one),
                effect_in_words(one),
                probability(one["corrected"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", verdicts_in_words(summary), ""]
    heads = [f"{figure}, {regime}" for figure, regime in SHOWN]
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
    rows = [f"| {claim['says']} | {claim['by']} | **{claim['verdict']}** |" for claim in summary["claims"]]
    return (
        "\n\n".join(answer(summary))
        + "\n\n"
        + "\n".join(["| claim | made by | verdict |", "|---|---|---|", *rows])
        + "\n"
    )


def page(summary: Summary, drawn: Mapping[str, bytes]) -> str:
    """The study's own page, as HTML that needs nothing else.

    Args:
        drawn: what `study_pictures.of_study` gives.
    """
    return template("study.html").render(
        summary=summary,
        answer=answer(summary),
        colours=COLOURS,
        contrast_in_words=contrast_in_words,
        figure_in_words=figure_in_words,
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
    ranked = sorted(_single(summary), key=lambda one: -abs(one["by"]))
    largest: dict[str, dict[str, Any]] = {}
    for one in ranked:
        largest.setdefault(one["setting"], one)
    sentences = []
    if largest:
        most, *others = largest.values()
        sentences.append(
            f"Of all that was changed one at a time, the {most['setting']} matters most: {_instead(most)} changes the "
            f"accuracy under shifts of up to 5 pixels (random5) by {effect_in_words(most)} points."
        )
    if len(largest) > 1:
        parts = enumerated(f"{one['setting']} {100 * one['by']:+.1f} ({_instead(one)})" for one in others)
        sentences.append(f"The largest effects of the others, in points of random5: {parts}.")
    without = [one for one in ranked if one["verdict"] == "no effect worth a point"]
    if without:
        sentences.append(f"Not worth a point: {enumerated(map(_instead, without))}.")
    sentences += [_of_notebook(summary, verdict, words) for verdict, words in NOTEBOOK.items()]
    return [sentence for sentence in sentences if sentence]


NOTEBOOK = {
    "supported": "What the notebook says and the study supports",
    "contradicted": "What the notebook says and the study contradicts",
    "no effect worth a point": "What the notebook says and has no effect worth a point in some contrast",
    "undecided": "What the notebook says and the study leaves undecided",
}


def _of_notebook(summary: Summary, verdict: str, words: str) -> str:
    said = [
        claim["says"].rstrip(".")
        for claim in summary["claims"]
        if "notebook" in claim["by"] and claim["verdict"] == verdict
    ]
    return f"{words}: {'; '.join(said)}." if said else ""


def _instead(one: Mapping[str, Any]) -> str:
    return f"“{label(one['first'])}” instead of “{label(one['second'])}”"


def _single(summary: Summary) -> Iterator[dict[str, Any]]:
    """The contrasts in the main figure of two variants that differ in one setting, and in which."""
    variants = {one["variant"]: settings(one) for one in summary["variants"]}
    for claim in summary["claims"]:
        for one in claim["contrasts"]:
            if (one["figure"], one["regime"]) == MAIN and one["second"] and not one["larger_than"]:
                first, second = variants[one["first"]], variants[one["second"]]
                different = [key for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
                if "architecture" in different or len(different) == 1:
                    yield {**one, "setting": different[0] if len(different) == 1 else "architecture"}


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
    if one["second_figure"]:
        return f"{label(one['first'])}: {one['figure']} less {one['second_figure']}"
    beyond = f", less {label(one['larger_than'][0])} less {label(one['larger_than'][1])}" if one["larger_than"] else ""
    return f"{label(one['first'])} less {label(one['second'])}{beyond}"


def effect_in_words(one: Mapping[str, Any]) -> str:
    """A difference in points with its interval."""
    if one["by"] is None:
        return "undefined"
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * one[key] for key in ("by", "low", "high")))


def label(variant: str) -> str:
    """A variant's name for people."""
    return variant.replace("_", " ")


def in_words(variant: Variant, figure: str, regime: str) -> str:
    """A figure in %, with half of its intervals over seeds and images; a dash where it was not measured."""
    of_regime = variant["figures"].get(regime)
    if not of_regime:
        return "-"
    one = of_regime[figure]
    if one["mean"] is None:
        return "undefined"
    if one["high"] is None:
        return f"{100 * one['mean']:.2f} (i ±{100 * one['images']:.2f})"
    return both_intervals(100 * one["mean"], 100 * (one["high"] - one["low"]) / 2, 100 * one["images"])


def verdicts_in_words(summary: Summary) -> str:
    """What the table of verdicts shows."""
    return (
        f"Differences of means over {len(summary['seeds'])} seeds on {summary['data']}, in percentage points, with "
        "Welch's 95% t-intervals; p-values after Holm's correction over all contrasts. Supported or contradicted: p "
        f"below 0.05, the sign as claimed or against it, and the interval not within ±{POINT:g} point; no effect worth "
        "a point: the interval within that; undecided: anything else. A claim is as good as its weakest contrast."
    )


def variants_in_words(summary: Summary) -> str:
    """What the table of variants shows."""
    return (
        f"In %, means over {len(summary['seeds'])} seeds, with half of the 95% interval over seeds, s, and over "
        f"images, i; the wider is bold. Consistency over {summary['shifts']} drawn shifts of up to "
        f"{summary['radius']} pixels of {summary['images']:,} test images, the others on all test images."
    )


def figure_in_words(one: Mapping[str, Any]) -> str:
    """What a contrast compares, and in which regime."""
    return f"{one['figure']}, {one['regime']}"


class Published(NamedTuple):
    """What others have found, and which of our figures, by variant, figure and regime, stand beside it."""

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
                f"{label(name)} {100 * variants[name]['figures'][regime][figure]['mean']:.2f}% ({figure}, {regime})"
                for name, figure, regime in one.ours
            )
            rows.append({"source": one.source, "theirs": one.theirs, "ours": ours, "reason": one.reason})
    return rows
