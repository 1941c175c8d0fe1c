"""The comparison as people read it: tables in Markdown, and the report, one HTML file that needs nothing else.

Everything here takes the comparison stage's summary, the content of metrics/comparison.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shiftlab.show import study as of_study
from shiftlab.show.columns import SUMMARY
from shiftlab.show.pages import both_intervals, enumerated, inline, probability, template

SIGNIFICANT = 0.05
NEARLY_ALL = 0.9

Summary = Mapping[str, Any]
Number = Mapping[str, float | None]  # an estimate's value, low and high


class Row(NamedTuple):
    """One model in one regime, as the tables have it: over seeds where there are several."""

    regime: str
    model: str
    seeds: list[int]
    figures: dict[str, str]  # in words, by name
    cost: tuple[int, int]  # parameters, multiply-adds


def rows(summary: Summary) -> list[Row]:
    """Every model in every regime.

    Over several seeds a figure is their mean, with half of its t-interval over seeds and half of the interval over
    images, the mean of the seeds'; the wider of the two, on which conclusions rest, is marked.
    """
    found = []
    for regime, model in dict.fromkeys((one["regime"], one["model"]) for one in summary["models"]):
        entries = [one for one in summary["models"] if (one["regime"], one["model"]) == (regime, model)]
        over = next(
            (one["figures"] for one in summary["over_seeds"] if (one["regime"], one["model"]) == (regime, model)), None
        )
        figures = {}
        for name in entries[0]["figures"]:
            scale = 100 if name not in SUMMARY or SUMMARY[name].percent else 1
            of_seeds = [one["figures"][name] for one in entries]
            figures[name] = over_both(over[name], of_seeds, scale) if over else estimate(of_seeds[0], scale)
        cost = entries[0]["parameters"], entries[0]["multiply_adds"]
        found.append(Row(regime, model, [one["seed"] for one in entries], figures, cost))
    return found


def tables(summary: Summary) -> str:
    """The figures of every model as two tables in Markdown, each with the sentence that says what its numbers are."""
    every = rows(summary)
    first = every[0].regime
    names = [name for name in every[0].figures if name not in SUMMARY]
    lines = ["| model | seeds | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    lines += [
        f"| {row.model} | {_seeds(row)} | " + " | ".join(row.figures[name] for name in names) + " |"
        for row in every
        if row.regime == first
    ]
    lines += [
        "",
        f"Accuracy in % on the {summary['images']:,} test images of **{summary['data']}**. "
        f"{intervals_in_words(summary)} {regime_in_words(first, summary)}",
        "",
        "| regime | model | seeds | " + " | ".join(columns(summary).values()) + " | parameters | multiply-adds |",
        "|---|---|---|" + "---|" * (len(SUMMARY) + 2),
    ]
    for row in every:
        cells = [row.figures[name] for name in SUMMARY]
        cost = f"{row.cost[0]:,} | {row.cost[1]:,}"
        lines.append(f"| {row.regime} | {row.model} | {_seeds(row)} | {' | '.join(cells)} | {cost} |")
    lines += ["", grid_in_words(summary)]
    return "\n".join(lines) + "\n"


def _seeds(row: Row) -> str:
    return ", ".join(map(str, row.seeds))


def intervals_in_words(summary: Summary) -> str:
    """What the intervals of the first table are."""
    if not summary["over_seeds"]:
        return "In brackets are 95% Wilson intervals over images."
    count = len({one["seed"] for one in summary["models"]})
    wider = _wider(summary)
    return (
        f"Means over {count} seeds, each with half of its 95% interval: Student's over seeds, s, and Wilson's over "
        f"images, i. The wider is bold: {wider}."
    )


def _wider(summary: Summary) -> str:
    """Which of the two intervals is wider, how often."""
    cells = [row.figures[name] for row in rows(summary) for name in row.figures if name not in SUMMARY]
    by_seeds = sum("**s" in cell for cell in cells)
    if by_seeds == len(cells):
        return "everywhere that over seeds"
    if by_seeds == 0:
        return "everywhere that over images"
    return (
        f"that over seeds in {by_seeds} of {len(cells)} cells of all regimes, so that conclusions rest on seeds there"
    )


def columns(summary: Summary) -> dict[str, str]:
    """The summary figures' names, and the words that stand over their columns."""
    return {name: column.words.format(summary["worst_case_within"]) for name, column in SUMMARY.items()}


def regime_in_words(regime: str, summary: Summary) -> str:
    """What happens at the edge."""
    if regime == "circular":
        return "Regime `circular`: content wraps round, nothing is lost."
    _, height, width = summary["shape"]
    if regime == "canvas":
        return f"Regime `canvas`: the images move on a black canvas of {width}x{height} pixels, vacated pixels black."
    if regime == "crop":
        return f"Regime `crop`: a window of {width}x{height} pixels moves over the larger image, whose content enters."
    return "Regime `zero`: same frame, vacated pixels black, ink past the edge lost."


def grid_in_words(summary: Summary) -> str:
    """What the figures of the grid are taken over."""
    radius, shifts = summary["radius"], summary["shifts"]
    whole = (2 * radius + 1) ** 2
    over = f"all {whole:,}" if shifts == whole else f"{shifts:,} drawn of the {whole:,}"
    boots = "images" if shifts == whole else "images and shifts"
    several = " Over seeds as above." if summary["over_seeds"] else ""
    return (
        f"Over {over} integer shifts of up to {radius} pixels along each axis, on {summary['grid_images']:,} test "
        f"images, with 95% intervals: Wilson's for the worst case, else from a bootstrap over {boots}.{several} "
        "Shares in %. Consistency by chance is what a network with the same errors would have if it drew them anew at "
        "each shift; corrected consistency is what lies beyond it, 0 at chance and 100 where the same images fail "
        "everywhere; fidelity is the share of pairs of shifts at which an image is right both times."
    )


def estimate(one: Number, scale: float = 100) -> str:
    """An estimate and its interval; in %, where it is a share."""
    if one["value"] is None:
        return "undefined"
    digits = 2 if scale == 100 else 3
    value, low, high = (f"{scale * (one[name] or 0.0):.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def over_both(over: Number, of_seeds: Sequence[Number], scale: float = 100) -> str:
    """A mean over seeds, with half of its intervals over seeds and over images; the wider is bold."""
    if over["mean"] is None:
        return "undefined"
    digits = 2 if scale == 100 else 3
    by_images = scale * sum(map(_half, of_seeds)) / len(of_seeds)
    return both_intervals(scale * (over["mean"] or 0.0), scale * _half(over), by_images, digits)


def _half(one: Number) -> float:
    return ((one["high"] or 0.0) - (one["low"] or 0.0)) / 2


def in_brief(summary: Summary) -> str:
    """The answer in the first regime, as short as it can be."""
    figures = _means(summary, summary["models"][0]["regime"])
    best, *others = _ranked(figures, "right5")
    moved = (
        f"Moved 5 pixels to the right, {best} still classifies {_percent(figures[best]['right5'])} of the images right"
    )
    least = min(figures[model]["clean"] or 0.0 for model in figures)
    if not others:
        return f"{moved}; unmoved, {_percent(least)}."
    rest = enumerated(f"{model} {_percent(figures[model]['right5'])}" for model in others)
    return f"{moved}; {rest}. Unmoved, each of them has at least {_percent(least)}."


def answer(summary: Summary) -> list[str]:
    """The question's answer in sentences, made from the numbers: means over seeds, where there are several."""
    sentences = []
    for regime in dict.fromkeys(entry["regime"] for entry in summary["models"]):
        figures = _means(summary, regime)
        sentences.append(_moved(regime, figures, summary))
        if len(figures) > 1:
            sentences.append(_ahead(figures, regime, summary))
        sentences.append(_over_grid(figures, summary))
        sentences.append(_beyond_chance(figures))
    return sentences


Means = Mapping[str, Mapping[str, float | None]]  # by model and figure


def _means(summary: Summary, regime: str) -> Means:
    if summary["over_seeds"]:
        return {
            one["model"]: {name: of["mean"] for name, of in one["figures"].items()}
            for one in summary["over_seeds"]
            if one["regime"] == regime
        }
    return {
        one["model"]: {name: of["value"] for name, of in one["figures"].items()}
        for one in summary["models"]
        if one["regime"] == regime
    }


def _moved(regime: str, figures: Means, summary: Summary) -> str:
    ranked = _ranked(figures, "right5")
    shifted = enumerated(f"{model} {_percent(figures[model]['right5'])}" for model in ranked)
    clean = enumerated(f"{model} {_percent(figures[model]['clean'])}" for model in ranked)
    seeds = len({one["seed"] for one in summary["models"]})
    mean = f" (means over {seeds} trainings)" if seeds > 1 else ""
    return (
        f"In regime {regime}, with every one of the {summary['images']:,} test images of {summary['data']} moved 5 "
        f"pixels to the right, the share classified right is: {shifted}{mean}. Unmoved it is: {clean}."
    )


def _ahead(figures: Means, regime: str, summary: Summary) -> str:
    best, second, *_ = _ranked(figures, "right5")
    if summary["over_seeds"]:
        tested = _pair(summary["differences_over_seeds"][regime], "figure", best, second)
        test = "Welch's t-test over seeds"
        low, high = sorted((abs(100 * tested["low"]), abs(100 * tested["high"])))
        within = f" (95% interval {low:.1f} to {high:.1f})" if tested["low"] * tested["high"] > 0 else ""
    else:
        tested = _pair(summary["differences"][regime], "evaluation_set", best, second)
        test, within = "McNemar's exact test", ""
    verdict = "significant" if tested["corrected"] < SIGNIFICANT else "not significant"
    return (
        f"The most robust to this shift is {best}, ahead of {second} by {100 * abs(tested['by']):.1f} percentage "
        f"points{within}. The difference is {verdict} ({test}, {probability(tested['corrected'])} after Holm's "
        "correction)."
    )


def _pair(differences: Sequence[Mapping[str, Any]], key: str, first: str, second: str) -> Mapping[str, Any]:
    (found,) = (one for one in differences if one[key] == "right5" and {one["first"], one["second"]} == {first, second})
    return found


def _over_grid(figures: Means, summary: Summary) -> str:
    parts = enumerated(
        f"{model} {_percent(figures[model]['grid'])} right and {_percent(figures[model]['consistency'])} consistent"
        for model in _ranked(figures, "grid")
    )
    return f"Over all shifts of up to {summary['radius']} pixels: {parts}."


def _beyond_chance(figures: Means) -> str:
    """What errors drawn anew would give, and of whose consistency that is nearly all.

    A model that is nearly always right is consistent by chance too, so that a large share alone does not tell.
    """
    ranked = _ranked(figures, "consistency")
    parts = enumerated(
        f"{model} {_percent(figures[model]['chance_consistency'])} (corrected consistency "
        f"{_percent(figures[model]['corrected_consistency'])})"
        for model in ranked
    )
    found = [model for model in ranked if _is_by_chance(figures[model])]
    whose = f": nearly all of the consistency of {enumerated(found)} is no invariance" if found else ""
    return f"Networks that drew the same errors anew at each shift would have the consistency {parts}{whose}."


def _is_by_chance(figures: Mapping[str, float | None]) -> bool:
    consistency, chance = figures["consistency"], figures["chance_consistency"]
    corrected = figures["corrected_consistency"]
    if consistency is None or chance is None or corrected is None:
        return False
    return chance > NEARLY_ALL * consistency and corrected < 1 - NEARLY_ALL


def _ranked(figures: Means, name: str) -> list[str]:
    return sorted(figures, key=lambda model: -(figures[model][name] or 0.0))


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.1f}%"


class Published(NamedTuple):
    """A published figure that PROTOCOL.md names, and what of ours is the same thing, if anything is."""

    source: str
    what: str
    theirs: str  # in %
    reason: str  # why ours may differ, or is missing
    model: str | None = None
    figure: str | None = None
    data: str = "mnist"
    radius: int | None = None  # of the grid that the figure was taken over


NOTEBOOK = "it trained on all 60,000 images, and looked at the test images after every epoch"
OTHER_MLP = "other layers and recipe"
OTHER_CNN = "ReLU and max pooling; ours is LeNet-5"
CANVAS = "theirs has offsets of -10 to 9 pixels; ours, of a run with data=mnist_canvas and evaluation.radius=10, to 10"
PUBLISHED = [
    Published("the notebook", "MLP, clean", "97.89", NOTEBOOK, "mlp", "clean"),
    Published("the notebook", "LeNet-5, clean", "98.70", NOTEBOOK, "lenet", "clean"),
    Published("the notebook", "ResNet-18, clean", "99.04", NOTEBOOK, "resnet", "clean"),
    Published("CS671, assignment 2", "MLP, clean", "97.47", OTHER_MLP, "mlp", "clean"),
    Published("CS671, assignment 2", "MLP, 4 pixels to the right", "43.24", OTHER_MLP, "mlp", "right4"),
    Published("CS671, assignment 2", "small CNN, clean", "98.95", OTHER_CNN, "lenet", "clean"),
    Published("CS671, assignment 2", "small CNN, 4 pixels to the right", "69.58", OTHER_CNN, "lenet", "right4"),
    Published("slacml-school", "MLP on a 48x48 canvas", "13.07", CANVAS, "mlp", "grid", "mnist_canvas", 10),
    Published("slacml-school", "CNN with global max pooling, the same", "96.57", "none of the three pools globally"),
    Published(
        "jinseokm.github.io", "CNN with 0, 1, 2 pooling layers", "68.6, 71.8, 84.3", "they differ in pooling alone"
    ),
    Published(
        "BlurPool (Zhang 2019)",
        "consistency of ResNet-18 on ImageNet, without and with",
        "85.11, 88.36",
        "other images, and random pairs of shifts by up to 32 of 224 pixels",
    ),
]


def published(summary: Summary) -> list[dict[str, str]]:
    """Published figures, of which MNIST alone has any, beside ours of the same thing."""
    if summary["data"] not in {one.data for one in PUBLISHED}:
        return []
    ours = {row.model: row.figures for row in rows(summary) if row.regime in ("zero", "canvas")}
    found = []
    for one in PUBLISHED:
        same = one.model in ours and one.data == summary["data"] and one.radius in (None, summary["radius"])
        measured = ours[str(one.model)][str(one.figure)] if same else "not measured by this run"
        found.append(
            {"source": one.source, "what": one.what, "theirs": one.theirs, "ours": measured, "reason": one.reason}
        )
    return found


def page(
    summary: Summary,
    pictures: Mapping[str, bytes],
    explorer: Mapping[str, Any],
    study: Mapping[str, Any],
    study_pictures: Mapping[str, bytes],
) -> str:
    """The report as HTML.

    Args:
        pictures: PNG by name, as `pictures.of_comparison` gives them.
        explorer: what `explorer.parts` gives.
        study: the content of metrics/study.json, of any data.
        study_pictures: of `study_pictures.of_study`, "effects" and "plane" at least.
    """
    every = rows(summary)
    regimes = list(dict.fromkeys(row.regime for row in every))
    return template("report.html").render(
        summary=summary,
        rows=every,
        in_brief=in_brief(summary),
        answer=answer(summary),
        explorer=explorer,
        regimes={regime: regime_in_words(regime, summary).replace("`", "") for regime in regimes},
        sets=[name for name in every[0].figures if name not in SUMMARY],
        columns=columns(summary),
        intervals_in_words=intervals_in_words(summary),
        grid_in_words=grid_in_words(summary),
        study=study,
        study_answer=of_study.answer(study),
        colours=of_study.COLOURS,
        which_way=of_study.which_way,
        verdicts_in_words=of_study.verdicts_in_words(study),
        effects_in_words=of_study.EFFECTS,
        plane_in_words=of_study.PLANE,
        published=published(summary),
        pictures=inline({**pictures, **{f"study-{name}": picture for name, picture in study_pictures.items()}}),
    )
