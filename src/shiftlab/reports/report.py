"""The comparison as people read it: tables in Markdown, and the report, one HTML file that needs nothing else.

Everything here takes the comparison stage's summary, the content of metrics/comparison.json.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

from shiftlab.metrics import registry
from shiftlab.metrics.intervals import Estimate, combined
from shiftlab.reports import published
from shiftlab.reports import study as study_report
from shiftlab.reports.blocks import Table, embed, render
from shiftlab.reports.columns import MODELS, data_name
from shiftlab.reports.numbers import UNDEFINED, count, enumerated, p_value, percent, plus_minus, points, points_interval
from shiftlab.shifts import boundaries
from shiftlab.shifts.grids import NAMED_SETS

SIGNIFICANT = 0.05
NEARLY_ALL = 0.9

Summary = Mapping[str, Any]
Means = Mapping[str, Mapping[str, float | None]]  # model's name -> metric -> its mean over seeds

INTERACTIVE = ("accuracy", "maps", "radius", "confusion")  # plots that the explorer shows, so that the page need not
NOT_MEASURED = "not measured by this run"
SETS = (
    "clean: unshifted; right5, right4: 5 and 4 pixels to the right; translate3: 3 pixels along each axis, signs drawn "
    "for each image; random5: up to 5 pixels along each axis, drawn for each image."
)


class Row(NamedTuple):
    """One model in one boundary: means over seeds where there are several."""

    boundary: str
    model: str  # its key
    estimates: dict[str, Estimate]  # by metric
    cost: tuple[int, int]  # parameters, multiply-adds

    @property
    def name(self) -> str:
        """The model as people know it."""
        return model_name(self.model)

    @property
    def metrics(self) -> dict[str, str]:
        """The estimates in words."""
        return {name: plus_minus(estimate, name, more_digits=1) for name, estimate in self.estimates.items()}


def rows(summary: Summary) -> list[Row]:
    """Return every model in every boundary, each metric with one interval for seeds and images."""
    by_model: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in summary["models"]:
        by_model.setdefault((entry["boundary"], entry["model"]), []).append(entry)
    return [
        Row(
            boundary,
            model,
            {
                name: combined([_estimate(entry["metrics"][name]) for entry in entries], registry.get(name).limits)
                for name in entries[0]["metrics"]
            },
            (entries[0]["parameters"], entries[0]["multiply_adds"]),
        )
        for (boundary, model), entries in by_model.items()
    ]


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    """Read an estimate from JSON's types, in which null is what is undefined."""
    value, low, high = (nan if entry[end] is None else entry[end] for end in ("value", "low", "high"))
    return Estimate(value, low, high, entry["images"])


def model_name(model: str) -> str:
    """Return a model's name as people know it."""
    return MODELS.get(model, model)


def how_much(summary: Summary) -> str:
    """Return the answer as a table in Markdown: each model in the first boundary, in %."""
    data = data_name(summary["data"])
    trained = {name: data + _in_training(augmentation) for name, augmentation in summary["augmentation"].items()}
    within = summary["robust_accuracy_within"]
    heads = ("unmoved", "5 px right", "anywhere within 5 px", f"robust within {within} px", "moves survived")
    return _how_much(summary, ("model", "trained on", *heads), trained).markdown()


def how_much_text(summary: Summary) -> str:
    """Return the same for a terminal, in at most 80 columns with the models that there are."""
    pixels = {name: augmentation["pixels"] for name, augmentation in summary["augmentation"].items()}
    trained = {name: f"by {reach} px" if reach else "no" for name, reach in pixels.items()}
    within = summary["robust_accuracy_within"]
    heads = (
        "",
        "moved in\ntraining",
        "unmoved",
        "5 px\nright",
        "within\n5 px",
        f"robust,\n{within} px",
        "moves\nsurvived",
    )
    return _how_much(summary, heads, trained).text()


def _how_much(summary: Summary, heads: Sequence[str], trained: Mapping[str, str]) -> Table:
    """Return the first table, in which `trained` says what each model has learned from."""
    boundary = summary["models"][0]["boundary"]
    moves: Mapping[str, int] = summary["moves_survived"][boundary]
    farthest = summary["radius"]
    keys = ("clean", "right5", "random5", f"robust_accuracy_{summary['robust_accuracy_within']}")
    cells = [
        [
            *(row.name, trained[row.model], *(plus_minus(row.estimates[key]) for key in keys)),
            f"≥{moves[row.model]}" if moves[row.model] == farthest else str(moves[row.model]),  # beyond: not measured
        ]
        for row in rows(summary)
        if row.boundary == boundary
    ]
    return Table(heads, cells)


def _in_training(augmentation: Mapping[str, Any]) -> str:
    pixels = augmentation["pixels"]
    if augmentation["kind"] == "crops":
        return f", cropped up to {pixels} px off the middle"
    return f", moved by up to {pixels} px" if pixels else ""


def one_sentence(summary: Summary) -> str:
    """Return the answer in the first boundary, in one sentence."""
    means = _means(summary, summary["models"][0]["boundary"])
    best, *others = _ranked(means, "right5")
    said = (
        f"Moved 5 pixels to the right, {_who(best, summary)} still classifies {_share(means[best]['right5'])} of "
        f"the {summary['images']:,} test images right"
    )
    if not others:
        return f"{said}; unmoved, {_share(means[best]['clean'])}."
    rest = enumerated(f"{_who(model, summary)} {_share(means[model]['right5'])}" for model in others)
    return f"{said}; {rest}."


def _who(name: str, summary: Summary) -> str:
    """Return a model's name, and whether it has learned from moved images: it is no wonder then."""
    keys = {model_name(key): key for key in summary["augmentation"]}
    moved = " (trained on moved images)" if summary["augmentation"][keys[name]]["pixels"] else ""
    return f"the {name}{moved}" if name == MODELS["mlp"] else f"{name}{moved}"


def how_much_in_words(summary: Summary) -> str:
    """Return what the numbers of the first table are."""
    within = summary["robust_accuracy_within"]
    return (
        f"In % of the {summary['images']:,} test images of {data_name(summary['data'])}: right as they are; 5 pixels "
        "to the right; each moved by up to 5 pixels along each axis, drawn for each. Robust: right at every one of the "
        f"{(2 * within + 1) ** 2} shifts of up to {within} pixels, of {summary['grid_images']:,} images. Moves "
        "survived: the largest number of pixels such that, at every shift of at most as many to the left or right, "
        "accuracy is at least 90% of the unmoved, in every training. "
        f"{_intervals_in_words(summary)} {edge(summary['models'][0]['boundary'], summary)}"
    )


def tables(summary: Summary) -> str:
    """Return the answer, then all metrics of every model, as tables in Markdown with what their numbers are."""
    on_sets, on_grid = set_tables(summary), grid_tables(summary)
    parts = [how_much(summary), how_much_in_words(summary) + "\n", "## Accuracy on the named evaluation sets\n"]
    parts += [table.markdown() for table in on_sets.values()]
    parts += ["## Over the grid\n", *(f"Boundary {name}.\n\n{table.markdown()}" for name, table in on_grid.items())]
    return "\n".join(parts)


def set_tables(summary: Summary) -> dict[str, Table]:
    """Return the accuracies on the named evaluation sets, a table for each boundary."""
    every = rows(summary)
    names = [key for key in every[0].estimates if key in NAMED_SETS]
    note = f"In %, of all {summary['images']:,} test images. {_intervals_in_words(summary)} {SETS}"
    return {
        boundary: Table(
            ["model", *names],
            [[row.name, *(row.metrics[name] for name in names)] for row in every if row.boundary == boundary],
            f"{edge(boundary, summary)} {note}",
        )
        for boundary in _boundaries(summary)
    }


def grid_tables(summary: Summary) -> dict[str, Table]:
    """Return the metrics over the grid with what a model costs, a table for each boundary."""
    keys = [key for key in summary["models"][0]["metrics"] if key not in NAMED_SETS]
    heads = [registry.get(key).label for key in keys]
    return {
        boundary: Table(
            ["model", *heads, "parameters", "multiply-adds"],
            [
                [row.name, *(row.metrics[key] for key in keys), *map(count, row.cost)]
                for row in rows(summary)
                if row.boundary == boundary
            ],
            _grid_in_words(summary),
        )
        for boundary in _boundaries(summary)
    }


def difference_tables(summary: Summary) -> dict[str, Table]:
    """Return the tests of every pair of models, by a title: over seeds, and on the same images; none of one model."""
    seeds = f", seed {summary['models'][0]['seed']} on the same images" if summary["over_seeds"] else ""
    over_seeds = {
        f"Boundary {boundary}, over seeds": Table(
            ["metric", "models", "difference in points", "95% interval", "Welch", "after Holm"],
            [[*_difference(test), points_interval(test, test["metric"]), *_p_values(test)] for test in tests],
        )
        for boundary, tests in summary["differences_over_seeds"].items()
        if tests
    }
    heads = ["difference in points", "right by the first alone", "by the second alone", "p", "after Holm"]
    on_images = {
        f"Boundary {boundary}{seeds}": Table(
            ["metric", "models", *heads],
            [
                [*_difference(test), count(test["only_first"]), count(test["only_second"]), *_p_values(test)]
                for test in tests
            ],
        )
        for boundary, tests in summary["differences"].items()
        if tests
    }
    return over_seeds | on_images


def _difference(test: Mapping[str, Any]) -> tuple[str, str, str]:
    pair = f"{test['first']} and {test['second']}"
    return test["metric"], pair, points(test["difference"], test["metric"])


def _p_values(test: Mapping[str, Any]) -> tuple[str, str]:
    return p_value(test["p"]), p_value(test["p_holm"])


def _boundaries(summary: Summary) -> list[str]:
    return list(dict.fromkeys(entry["boundary"] for entry in summary["models"]))


def _intervals_in_words(summary: Summary) -> str:
    """Return what stands after ±."""
    seeds = sorted({entry["seed"] for entry in summary["models"]})
    if len(seeds) == 1:
        return "One training each, ± half of its 95% interval over test images; another training may differ by more."
    return (
        f"Means over {len(seeds)} trainings (seeds {', '.join(map(str, seeds))}), ± half of a 95% interval for what "
        "other trainings and other test images would give. The images' part is an upper bound, which makes the "
        "interval conservative."
    )


def edge(boundary: str, summary: Summary) -> str:
    """Return what happens at the edge in a boundary."""
    _, height, width = summary["shape"]
    if boundary == "canvas":  # what zero is called there
        return f"Boundary canvas: the images move on a black canvas of {width}x{height}, vacated pixels black."
    return f"Boundary {boundary}: {boundaries.get(boundary).describe(width, height)}."


def _grid_in_words(summary: Summary) -> str:
    """Return what the metrics of the grid are taken over."""
    radius, shifts = summary["radius"], summary["shifts"]
    whole = (2 * radius + 1) ** 2
    within = summary["robust_accuracy_within"]
    sample = f"{shifts:,} of the {whole:,} (all within {within} pixels, and some drawn)"
    over, resampled = (f"all {whole:,}", "images") if shifts == whole else (sample, "images and shifts")
    return (
        f"Over {over} integer shifts of up to {radius} pixels along each axis, on {summary['grid_images']:,} test "
        f"images; over these, intervals are Wilson's for the robust accuracy, else from a bootstrap over {resampled}. "
        "Shares in %. Consistency by chance is what a network with the same errors would have if it drew them anew at "
        "each shift; corrected consistency is what lies beyond it, 0 at chance and 100 where the same images fail "
        "everywhere; pairwise accuracy is the share of pairs of shifts at which an image is right both times. "
        "Parameters and multiply-adds are those of one image's forward pass."
    )


def in_brief(summary: Summary) -> str:
    """Return the answer in the first boundary, as short as it can be."""
    means = _means(summary, summary["models"][0]["boundary"])
    if len(means) == 1:
        return one_sentence(summary)
    least = min(metrics["clean"] or 0.0 for metrics in means.values())
    return f"{one_sentence(summary)} Unmoved, each of them has at least {_share(least)}."


def answer(summary: Summary) -> list[str]:
    """Return the question's answer in sentences, made from the numbers: means over seeds, where there are several."""
    sentences = []
    for boundary in _boundaries(summary):
        means = _means(summary, boundary)
        sentences.append(_right_when_moved(boundary, means, summary))
        if len(means) > 1:
            sentences.append(_most_robust(means, boundary, summary))
        over_grid = enumerated(
            f"{model} {_share(means[model]['grid'])} right and {_share(means[model]['consistency'])} consistent"
            for model in _ranked(means, "grid")
        )
        sentences += [f"Over all shifts of up to {summary['radius']} pixels: {over_grid}.", _beyond_chance(means)]
    return sentences


def _means(summary: Summary, boundary: str) -> Means:
    entries, key = (summary["over_seeds"], "mean") if summary["over_seeds"] else (summary["models"], "value")
    return {
        model_name(entry["model"]): {name: metric[key] for name, metric in entry["metrics"].items()}
        for entry in entries
        if entry["boundary"] == boundary
    }


def _right_when_moved(boundary: str, means: Means, summary: Summary) -> str:
    ranked = _ranked(means, "right5")
    shifted, clean = (
        enumerated(f"{model} {_share(means[model][name])}" for model in ranked) for name in ("right5", "clean")
    )
    seeds = len({entry["seed"] for entry in summary["models"]})
    mean = f" (means over {seeds} trainings)" if seeds > 1 else ""
    return (
        f"In boundary {boundary}, with every one of the {summary['images']:,} test images of "
        f"{data_name(summary['data'])} moved 5 pixels to the right, the share classified right is: {shifted}{mean}. "
        f"Unmoved it is: {clean}."
    )


def _most_robust(means: Means, boundary: str, summary: Summary) -> str:
    best, second, *_ = _ranked(means, "right5")
    within, name = "", "McNemar's exact test"
    if summary["over_seeds"]:
        name = "Welch's t-test over seeds"
        test = _test(summary["differences_over_seeds"][boundary], best, second)
        low, high = sorted((abs(100 * test["low"]), abs(100 * test["high"])))
        within = f" (95% interval {low:.1f} to {high:.1f})" if test["low"] * test["high"] > 0 else ""
    else:
        test = _test(summary["differences"][boundary], best, second)
    verdict = "significant" if test["p_holm"] < SIGNIFICANT else "not significant"
    return (
        f"The most robust to this shift is {best}, ahead of {second} by {100 * abs(test['difference']):.1f} "
        f"percentage points{within}. The difference is {verdict} ({name}, {p_value(test['p_holm'])} after "
        "Holm's correction)."
    )


def _test(tests: Sequence[Mapping[str, Any]], first: str, second: str) -> Mapping[str, Any]:
    (test,) = (
        test
        for test in tests
        if test["metric"] == "right5" and {model_name(test["first"]), model_name(test["second"])} == {first, second}
    )
    return test


def _beyond_chance(means: Means) -> str:
    """Return what errors drawn anew would give, and of whose consistency that is nearly all.

    A model that is nearly always right is consistent by chance too, so that a large share alone does not tell.
    """
    ranked = _ranked(means, "consistency")
    parts = enumerated(
        f"{model} {_share(means[model]['consistency_by_chance'])} (corrected consistency "
        f"{_share(means[model]['corrected_consistency'])})"
        for model in ranked
    )
    by_chance = [model for model in ranked if _is_by_chance(means[model])]
    whose = f": nearly all of the consistency of {enumerated(by_chance)} is no invariance" if by_chance else ""
    return f"Networks that drew the same errors anew at each shift would have the consistency {parts}{whose}."


def _is_by_chance(metrics: Mapping[str, float | None]) -> bool:
    consistency, chance = metrics["consistency"], metrics["consistency_by_chance"]
    corrected = metrics["corrected_consistency"]
    if consistency is None or chance is None or corrected is None:
        return False
    return chance > NEARLY_ALL * consistency and corrected < 1 - NEARLY_ALL


def _ranked(means: Means, metric: str) -> list[str]:
    return sorted(means, key=lambda model: -(means[model][metric] or 0.0))


def _share(share: float | None) -> str:
    return UNDEFINED if share is None else f"{percent(share)}%"


def published_table(summary: Summary) -> Table | None:
    """Return published numbers beside ours of the same thing; none on data of which nothing is published."""
    entries = published.entries("models")
    if summary["data"] not in {entry["data"] for entry in entries}:
        return None
    ours = {row.model: row.metrics for row in rows(summary) if row.boundary in ("zero", "canvas")}
    cells = []
    for entry in entries:
        model, metric = entry.get("ours", (None, None))
        same = entry["data"] == summary["data"] and entry.get("radius", summary["radius"]) == summary["radius"]
        measured = ours[model][metric] if same and model in ours else NOT_MEASURED
        cells.append([entry["source"], entry["what"], entry["theirs"], measured, entry["reason"]])
    note = "Ours: the stages' own recipe: Adam, 55,000 training images, the epoch chosen by 5,000 validation images."
    return Table(["source", "what", "theirs (%)", "ours (%)", "why they may differ"], cells, note)


def page(
    summary: Summary,
    plots: Mapping[str, bytes],
    explorer: Mapping[str, Any],
    study: Mapping[str, Any] | None,
    study_plots: Mapping[str, bytes],
) -> str:
    """Return the report as HTML.

    Args:
        plots: PNG by name, as `plots.of_comparison` gives them; those that the explorer shows are left out.
        explorer: what `explorer.parts` gives.
        study: the content of metrics/study.json; none where no study of the same data has been run.
        study_plots: of `study_plots.of_study`, "plane" at least where there is a study.
    """
    shown = {name: png for name, png in plots.items() if not any(name.endswith(f"-{kind}") for kind in INTERACTIVE[:3])}
    if explorer["sets"]:
        shown = {name: png for name, png in shown.items() if not name.endswith("-confusion")}
    return render(
        "report.html",
        summary=summary,
        data=data_name(summary["data"]),
        in_brief=in_brief(summary),
        answer=answer(summary),
        explorer=explorer,
        edges={boundary: edge(boundary, summary) for boundary in _boundaries(summary)},
        set_tables=set_tables(summary),
        grid_tables=grid_tables(summary),
        difference_tables=difference_tables(summary),
        study=study,
        study_answer=study_report.answer(study) if study else [],
        verdicts=study_report.verdicts_table(study) if study else None,
        published=published_table(summary),
        plots=embed(shown),
        study_plots=embed(study_plots if study else {}),
    )
