"""The comparison as people read it: tables in Markdown, and the report, one HTML file that needs nothing else.

Everything here takes the comparison stage's summary, the content of metrics/comparison.json.
"""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any, NamedTuple

from shiftlab.metrics.intervals import Estimate, combined
from shiftlab.reports import study as of_study
from shiftlab.reports.columns import MODELS, SUMMARY, data_name
from shiftlab.reports.pages import enumerated, inline, probability, template

SIGNIFICANT = 0.05
NEARLY_ALL = 0.9

Summary = Mapping[str, Any]

HOW_MUCH = ("clean", "right5", "random5", "robust_accuracy")  # the metrics of the first table


class Row(NamedTuple):
    """One model in one boundary: means over seeds where there are several."""

    boundary: str
    model: str  # its key
    seeds: list[int]
    estimates: dict[str, Estimate]  # by metric
    cost: tuple[int, int]  # parameters, multiply-adds

    @property
    def name(self) -> str:
        """The model as people know it."""
        return model_name(self.model)

    @property
    def metrics(self) -> dict[str, str]:
        """The estimates in words."""
        return {name: _in_words(name, one) for name, one in self.estimates.items()}


def rows(summary: Summary) -> list[Row]:
    """Every model in every boundary, each metric with one interval for seeds and images."""
    every = []
    for boundary, model in dict.fromkeys((one["boundary"], one["model"]) for one in summary["models"]):
        entries = [one for one in summary["models"] if (one["boundary"], one["model"]) == (boundary, model)]
        estimates = {
            name: combined([_estimate(one["metrics"][name]) for one in entries], _limits(name))
            for name in entries[0]["metrics"]
        }
        cost = entries[0]["parameters"], entries[0]["multiply_adds"]
        every.append(Row(boundary, model, [one["seed"] for one in entries], estimates, cost))
    return every


def _estimate(one: Mapping[str, Any]) -> Estimate:
    """From JSON's types, in which null is what is undefined."""
    value, low, high = (nan if one[name] is None else one[name] for name in ("value", "low", "high"))
    return Estimate(value, low, high, one["images"])


def _limits(name: str) -> tuple[float, float]:
    return SUMMARY[name].limits if name in SUMMARY else (0.0, 1.0)


def _in_words(name: str, one: Estimate) -> str:
    percent = name not in SUMMARY or SUMMARY[name].percent
    return plus_minus(one, 100, 2) if percent else plus_minus(one, 1, 3)


def plus_minus(one: Estimate, scale: float = 100, digits: int = 1) -> str:
    """An estimate ± the half-width of its 95% interval; in %, where it is a share."""
    if isnan(one.value):
        return "undefined"
    return f"{scale * one.value:.{digits}f} ±{scale * one.half:.{digits}f}"


def model_name(model: str) -> str:
    """A model as people know it."""
    return MODELS.get(model, model)


def how_much(summary: Summary) -> str:
    """The answer as a table in Markdown: each model in the first boundary, in %."""
    header = [
        *("model", "trained on", "unmoved", "5 px right", "anywhere within 5 px"),
        *(f"robust within {summary['robust_accuracy_within']} px", "moves survived"),
    ]
    lines = [header, ["---"] * len(header)]
    for row in _of_first_boundary(summary):
        trained = data_name(summary["data"]) + _moved_in_training(summary["augmentation"][row.model])
        lines.append([row.name, trained, *_answer_cells(row), _moves(row, summary)])
    return _markdown(lines)


def how_much_text(summary: Summary) -> str:
    """The same for a terminal, in at most 80 columns with the models that there are."""
    above = ["", "moved in", "", "5 px", "within", "robust,", "moves"]
    below = ["", "training", "unmoved", "right", "5 px", f"{summary['robust_accuracy_within']} px", "survived"]
    lines = [above, below]
    for row in _of_first_boundary(summary):
        pixels = summary["augmentation"][row.model]["pixels"]
        moved = f"by {pixels} px" if pixels else "no"
        lines.append([row.name, moved, *_answer_cells(row), _moves(row, summary)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"
        for cells in lines
    )


def one_sentence(summary: Summary) -> str:
    """The answer in the first boundary, in one sentence."""
    metrics = _means(summary, summary["models"][0]["boundary"])
    best, *others = _ranked(metrics, "right5")
    said = (
        f"Moved 5 pixels to the right, {_who(best, summary)} still classifies {_percent(metrics[best]['right5'])} of "
        f"the {summary['images']:,} test images right"
    )
    if not others:
        return f"{said}; unmoved, {_percent(metrics[best]['clean'])}."
    rest = enumerated(f"{_who(model, summary)} {_percent(metrics[model]['right5'])}" for model in others)
    return f"{said}; {rest}."


def _who(name: str, summary: Summary) -> str:
    """A model by its name, and whether it has learned from moved images: it is no wonder then."""
    keys = {model_name(key): key for key in summary["augmentation"]}
    moved = " (trained on moved images)" if summary["augmentation"][keys[name]]["pixels"] else ""
    return f"the {name}{moved}" if name == MODELS["mlp"] else f"{name}{moved}"


def _of_first_boundary(summary: Summary) -> list[Row]:
    return [row for row in rows(summary) if row.boundary == summary["models"][0]["boundary"]]


def _answer_cells(row: Row) -> list[str]:
    return [plus_minus(row.estimates[name]) for name in HOW_MUCH]


def _moves(row: Row, summary: Summary) -> str:
    moves: int = summary["moves_survived"][row.boundary][row.model]
    return f"≥{moves}" if moves == summary["radius"] else str(moves)  # farther was not measured


def _moved_in_training(augmentation: Mapping[str, Any]) -> str:
    pixels = augmentation["pixels"]
    if augmentation["kind"] == "crops":
        return f", cropped up to {pixels} px off the middle"
    return f", moved by up to {pixels} px" if pixels else ""


def how_much_in_words(summary: Summary) -> str:
    """What the numbers of the first table are."""
    within = summary["robust_accuracy_within"]
    shifts = (2 * within + 1) ** 2
    return (
        f"In % of the {summary['images']:,} test images of {data_name(summary['data'])}: right as they are; 5 pixels "
        "to the right; each moved by up to 5 pixels along each axis, drawn for each. Robust: right at every one of the "
        f"{shifts} shifts of up to {within} pixels, of {summary['grid_images']:,} images. Moves survived: the "
        "largest number of pixels such that, at every shift of at most as many to the left or right, accuracy is at "
        "least 90% of the unmoved, in every training. "
        f"{intervals_in_words(summary)} {boundary_in_words(summary['models'][0]['boundary'], summary)}"
    )


def tables(summary: Summary) -> str:
    """The answer, then all metrics of every model, as tables in Markdown with what their numbers are."""
    every = rows(summary)
    names = [name for name in every[0].estimates if name not in SUMMARY]
    parts = [how_much(summary), how_much_in_words(summary) + "\n", "## Accuracy on the named evaluation sets\n"]
    for boundary in dict.fromkeys(row.boundary for row in every):
        lines = [["model", *names], ["---"] * (len(names) + 1)]
        lines += [[row.name, *(row.metrics[name] for name in names)] for row in every if row.boundary == boundary]
        parts += [_markdown(lines), f"In %. {boundary_in_words(boundary, summary)}\n"]
    parts += ["## Over the grid\n"]
    for boundary in dict.fromkeys(row.boundary for row in every):
        lines = [["model", *columns(summary).values(), "parameters", "multiply-adds"], ["---"] * (len(SUMMARY) + 3)]
        lines += [
            [row.name, *(row.metrics[name] for name in SUMMARY), *(f"{one:,}" for one in row.cost)]
            for row in every
            if row.boundary == boundary
        ]
        parts += [_markdown(lines), f"Boundary `{boundary}`.\n"]
    return "\n".join([*parts, grid_in_words(summary) + "\n"])


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def intervals_in_words(summary: Summary) -> str:
    """What stands after ±."""
    seeds = len({one["seed"] for one in summary["models"]})
    if seeds == 1:
        return "One training each, ± half of its 95% interval over test images; another training may differ by more."
    return (
        f"Means over {seeds} trainings, ± half of a 95% interval for what other trainings and other test images would "
        "give. The images' part is an upper bound, which makes the interval conservative."
    )


def columns(summary: Summary) -> dict[str, str]:
    """The summary metrics' names, and the words that stand over their columns."""
    return {name: column.words.format(summary["robust_accuracy_within"]) for name, column in SUMMARY.items()}


def boundary_in_words(boundary: str, summary: Summary) -> str:
    """What happens at the edge."""
    if boundary == "circular":
        return "Boundary `circular`: content wraps round, nothing is lost."
    _, height, width = summary["shape"]
    if boundary == "canvas":
        return f"Boundary `canvas`: the images move on a black canvas of {width}x{height}, vacated pixels black."
    if boundary == "crop":
        return f"Boundary `crop`: a window of {width}x{height} moves over the larger image, whose content enters."
    return "Boundary `zero`: same frame, vacated pixels black, ink past the edge lost."


def grid_in_words(summary: Summary) -> str:
    """What the metrics of the grid are taken over."""
    radius, shifts = summary["radius"], summary["shifts"]
    whole = (2 * radius + 1) ** 2
    over = (
        f"all {whole:,}"
        if _complete(summary)
        else f"{shifts:,} of the {whole:,} (all within {summary['robust_accuracy_within']} pixels, and some drawn)"
    )
    boots = "images" if _complete(summary) else "images and shifts"
    return (
        f"Over {over} integer shifts of up to {radius} pixels along each axis, on {summary['grid_images']:,} test "
        f"images; over these, intervals are Wilson's for the robust accuracy, else from a bootstrap over {boots}. "
        "Shares in %. Consistency by chance is what a network with the same errors would have if it drew them anew at "
        "each shift; corrected consistency is what lies beyond it, 0 at chance and 100 where the same images fail "
        "everywhere; pairwise_accuracy is the share of pairs of shifts at which an image is right both times."
    )


def _complete(summary: Summary) -> bool:
    """Was every shift of the grid evaluated?"""
    return bool(summary["shifts"] == (2 * summary["radius"] + 1) ** 2)


def in_brief(summary: Summary) -> str:
    """The answer in the first boundary, as short as it can be."""
    metrics = _means(summary, summary["models"][0]["boundary"])
    if len(metrics) == 1:
        return one_sentence(summary)
    least = min(one["clean"] or 0.0 for one in metrics.values())
    return f"{one_sentence(summary)} Unmoved, each of them has at least {_percent(least)}."


def answer(summary: Summary) -> list[str]:
    """The question's answer in sentences, made from the numbers: means over seeds, where there are several."""
    sentences = []
    for boundary in dict.fromkeys(entry["boundary"] for entry in summary["models"]):
        metrics = _means(summary, boundary)
        sentences.append(_moved(boundary, metrics, summary))
        if len(metrics) > 1:
            sentences.append(_ahead(metrics, boundary, summary))
        sentences.append(_over_grid(metrics, summary))
        sentences.append(_beyond_chance(metrics))
    return sentences


Means = Mapping[str, Mapping[str, float | None]]  # by the model's name and metric


def _means(summary: Summary, boundary: str) -> Means:
    if summary["over_seeds"]:
        return {
            model_name(one["model"]): {name: of["mean"] for name, of in one["metrics"].items()}
            for one in summary["over_seeds"]
            if one["boundary"] == boundary
        }
    return {
        model_name(one["model"]): {name: of["value"] for name, of in one["metrics"].items()}
        for one in summary["models"]
        if one["boundary"] == boundary
    }


def _moved(boundary: str, metrics: Means, summary: Summary) -> str:
    ranked = _ranked(metrics, "right5")
    shifted = enumerated(f"{model} {_percent(metrics[model]['right5'])}" for model in ranked)
    clean = enumerated(f"{model} {_percent(metrics[model]['clean'])}" for model in ranked)
    seeds = len({one["seed"] for one in summary["models"]})
    mean = f" (means over {seeds} trainings)" if seeds > 1 else ""
    return (
        f"In boundary {boundary}, with every one of the {summary['images']:,} test images of "
        f"{data_name(summary['data'])} moved 5 pixels to the right, the share classified right is: {shifted}{mean}. "
        f"Unmoved it is: {clean}."
    )


def _ahead(metrics: Means, boundary: str, summary: Summary) -> str:
    best, second, *_ = _ranked(metrics, "right5")
    if summary["over_seeds"]:
        tested = _pair(summary["differences_over_seeds"][boundary], "metric", best, second)
        test = "Welch's t-test over seeds"
        low, high = sorted((abs(100 * tested["low"]), abs(100 * tested["high"])))
        within = f" (95% interval {low:.1f} to {high:.1f})" if tested["low"] * tested["high"] > 0 else ""
    else:
        tested = _pair(summary["differences"][boundary], "evaluation_set", best, second)
        test, within = "McNemar's exact test", ""
    verdict = "significant" if tested["corrected"] < SIGNIFICANT else "not significant"
    return (
        f"The most robust to this shift is {best}, ahead of {second} by {100 * abs(tested['by']):.1f} percentage "
        f"points{within}. The difference is {verdict} ({test}, {probability(tested['corrected'])} after Holm's "
        "correction)."
    )


def _pair(differences: Sequence[Mapping[str, Any]], key: str, first: str, second: str) -> Mapping[str, Any]:
    (tested,) = (
        one
        for one in differences
        if one[key] == "right5" and {model_name(one["first"]), model_name(one["second"])} == {first, second}
    )
    return tested


def _over_grid(metrics: Means, summary: Summary) -> str:
    parts = enumerated(
        f"{model} {_percent(metrics[model]['grid'])} right and {_percent(metrics[model]['consistency'])} consistent"
        for model in _ranked(metrics, "grid")
    )
    return f"Over all shifts of up to {summary['radius']} pixels: {parts}."


def _beyond_chance(metrics: Means) -> str:
    """What errors drawn anew would give, and of whose consistency that is nearly all.

    A model that is nearly always right is consistent by chance too, so that a large share alone does not tell.
    """
    ranked = _ranked(metrics, "consistency")
    parts = enumerated(
        f"{model} {_percent(metrics[model]['consistency_by_chance'])} (corrected consistency "
        f"{_percent(metrics[model]['corrected_consistency'])})"
        for model in ranked
    )
    found = [model for model in ranked if _is_by_chance(metrics[model])]
    whose = f": nearly all of the consistency of {enumerated(found)} is no invariance" if found else ""
    return f"Networks that drew the same errors anew at each shift would have the consistency {parts}{whose}."


def _is_by_chance(metrics: Mapping[str, float | None]) -> bool:
    consistency, chance = metrics["consistency"], metrics["consistency_by_chance"]
    corrected = metrics["corrected_consistency"]
    if consistency is None or chance is None or corrected is None:
        return False
    return chance > NEARLY_ALL * consistency and corrected < 1 - NEARLY_ALL


def _ranked(metrics: Means, name: str) -> list[str]:
    return sorted(metrics, key=lambda model: -(metrics[model][name] or 0.0))


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.1f}%"


class Published(NamedTuple):
    """A published metric that PROTOCOL.md names, and what of ours is the same thing, if anything is."""

    source: str
    what: str
    theirs: str  # in %
    reason: str  # why ours may differ, or is missing
    model: str | None = None
    metric: str | None = None
    data: str = "mnist"
    radius: int | None = None  # of the grid that the metric was taken over


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
    """Published metrics, of which MNIST alone has any, beside ours of the same thing."""
    if summary["data"] not in {one.data for one in PUBLISHED}:
        return []
    ours = {row.model: row.metrics for row in rows(summary) if row.boundary in ("zero", "canvas")}
    found = []
    for one in PUBLISHED:
        same = one.model in ours and one.data == summary["data"] and one.radius in (None, summary["radius"])
        measured = ours[str(one.model)][str(one.metric)] if same else "not measured by this run"
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
        pictures: PNG by name, as `plots.of_comparison` gives them.
        explorer: what `explorer.parts` gives.
        study: the content of metrics/study.json, of any data.
        study_pictures: of `study_plots.of_study`, "effects" and "plane" at least.
    """
    every = rows(summary)
    boundaries = list(dict.fromkeys(row.boundary for row in every))
    return template("report.html").render(
        summary=summary,
        rows=every,
        in_brief=in_brief(summary),
        answer=answer(summary),
        explorer=explorer,
        boundaries={boundary: boundary_in_words(boundary, summary).replace("`", "") for boundary in boundaries},
        sets=[name for name in every[0].metrics if name not in SUMMARY],
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
