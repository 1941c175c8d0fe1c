"""The comparison as people read it: tables in Markdown, and the report, one HTML file that needs nothing else.

`summary` is the compare stage's, the content of metrics/comparison.json.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

from shiftlab.metrics import registry
from shiftlab.metrics.intervals import Estimate, combined
from shiftlab.reports import study as study_report
from shiftlab.reports.blocks import Plots, Table, embed, load_yaml, paragraph, render, sentences
from shiftlab.reports.names import MODELS, data_name, model_name
from shiftlab.reports.numbers import p_value, plus_minus, points, points_interval, with_commas
from shiftlab.shifts import boundaries
from shiftlab.shifts.grids import NAMED_SETS

NEARLY_ALL = 0.9
INTERACTIVE = ("accuracy", "maps", "radius")  # plots that the explorer shows, so that the page need not
NOT_MEASURED = "not measured by this run"
# Of the table that answers, in Markdown and in a terminal, where a line break is one.
HEADS = "model", "trained on", "unmoved", "5 px right", "anywhere within 5 px", "robust within {} px", "moves survived"
TERMINAL_HEADS = "", "moved in\ntraining", "unmoved", "5 px\nright", "within\n5 px", "robust,\n{} px", "moves\nsurvived"

Summary = Mapping[str, Any]
Means = Mapping[str, Mapping[str, float | None]]  # model's name -> metric -> its mean over seeds


class Row(NamedTuple):
    """One model in one boundary: means over seeds where there are several."""

    model: str  # its key
    estimates: dict[str, Estimate]  # by metric
    cost: tuple[int, int]  # parameters, multiply-adds

    def cells(self, metrics: Sequence[str]) -> list[str]:
        """Return metrics in words."""
        return [plus_minus(self.estimates[metric], metric, more_digits=1) for metric in metrics]


def rows(summary: Summary) -> dict[str, list[Row]]:
    """Return a row for each model, by boundary; each metric has one interval for seeds and images."""
    by_model: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in summary["models"]:
        by_model.setdefault((entry["boundary"], entry["model"]), []).append(entry)
    by_boundary: dict[str, list[Row]] = {}
    for (boundary, model), entries in by_model.items():
        estimates = {
            metric: combined([_estimate(entry["metrics"][metric]) for entry in entries], registry.get(metric).limits)
            for metric in entries[0]["metrics"]
        }
        cost = entries[0]["parameters"], entries[0]["multiply_adds"]
        by_boundary.setdefault(boundary, []).append(Row(model, estimates, cost))
    return by_boundary


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    """Read an estimate from JSON's types, in which null is what is undefined."""
    value, low, high = (nan if entry[end] is None else entry[end] for end in ("value", "low", "high"))
    return Estimate(value, low, high, entry["images"])


def answer_table(summary: Summary, terminal: bool = False) -> Table:
    """Return the answer as a table: each model in the first boundary, in %; for a terminal, in at most 80 columns."""
    within, farthest = summary["robust_accuracy_within"], summary["radius"]
    metrics = ("clean", "right5", "random5", f"robust_accuracy_{within}")
    boundary, of_boundary = next(iter(rows(summary).items()))
    cells = []
    for row in of_boundary:
        moves = summary["moves_survived"][boundary][row.model]
        survived = f"≥{moves}" if moves == farthest else str(moves)  # beyond: not measured
        accuracies = [plus_minus(row.estimates[metric]) for metric in metrics]
        cells.append([model_name(row.model), _training_data(row.model, summary, terminal), *accuracies, survived])
    return Table([head.format(within) for head in (TERMINAL_HEADS if terminal else HEADS)], cells)


def _training_data(model: str, summary: Summary, terminal: bool) -> str:
    data, pixels = data_name(summary["data"]), summary["augmentation"][model]["pixels"]
    if terminal:
        return f"by {pixels} px" if pixels else "no"
    if summary["augmentation"][model]["kind"] == "crops":
        return f"{data}, cropped up to {pixels} px off the middle"
    return f"{data}, moved by up to {pixels} px" if pixels else data


def short_answer(summary: Summary) -> str:
    """Return the answer in the first boundary, in one sentence."""
    means = _means(summary, summary["models"][0]["boundary"])
    keys = {model_name(key): key for key in summary["augmentation"]}
    models = []
    for name in _ranked(means, "right5"):
        article = "the " if name == MODELS["mlp"] else ""
        moved = summary["augmentation"][keys[name]]["pixels"] and "moved" not in name
        training = " (trained on moved images)" if moved else ""
        models.append((f"{article}{name}{training}", means[name]))
    return paragraph("short_answer", summary=summary, models=models)


def tables(summary: Summary) -> str:
    """Return the answer, then all metrics of every model, as tables in Markdown with what their numbers are."""
    edge = _edge(summary["models"][0]["boundary"], summary)
    note = paragraph("answer_table_note", summary=summary, data=data_name(summary["data"]), edge=edge)
    parts = [answer_table(summary).markdown(), f"{note}\n", "## Accuracy on the named evaluation sets\n"]
    parts += [table.markdown() for table in set_tables(summary).values()]
    parts.append("## Over the grid\n")
    parts += [f"Boundary {name}.\n\n{table.markdown()}" for name, table in grid_tables(summary).items()]
    return "\n".join(parts)


def set_tables(summary: Summary) -> dict[str, Table]:
    """Return the accuracies on the named evaluation sets, a table for each boundary."""
    names = [metric for metric in summary["models"][0]["metrics"] if metric in NAMED_SETS]
    return {
        boundary: Table(
            ["model", *names],
            [[model_name(row.model), *row.cells(names)] for row in of_boundary],
            paragraph("sets_note", summary=summary, edge=_edge(boundary, summary)),
        )
        for boundary, of_boundary in rows(summary).items()
    }


def grid_tables(summary: Summary) -> dict[str, Table]:
    """Return the metrics over the grid with what a model costs, a table for each boundary."""
    metrics = [metric for metric in summary["models"][0]["metrics"] if metric not in NAMED_SETS]
    header = ["model", *(registry.get(metric).label for metric in metrics), "parameters", "multiply-adds"]
    return {
        boundary: Table(
            header,
            [[model_name(row.model), *row.cells(metrics), *map(with_commas, row.cost)] for row in of_boundary],
            paragraph("grid_note", summary=summary),
        )
        for boundary, of_boundary in rows(summary).items()
    }


def difference_tables(summary: Summary) -> dict[str, Table]:
    """Return the tests of every pair of models, by a title: over seeds, and on the same images; none of one model."""
    tables = {}
    header = ["metric", "models", "difference in points"]
    for boundary, tests in summary["differences_over_seeds"].items():
        cells = [_test_row(test, points_interval(test, test["metric"])) for test in tests]
        tables[f"Boundary {boundary}, over seeds"] = Table([*header, "95% interval", "Welch", "after Holm"], cells)
    header += ["right by the first alone", "by the second alone", "p", "after Holm"]
    seeds = f", seed {summary['models'][0]['seed']} on the same images" if summary["over_seeds"] else ""
    for boundary, tests in summary["differences"].items():
        cells = [_test_row(test, with_commas(test["only_first"]), with_commas(test["only_second"])) for test in tests]
        tables[f"Boundary {boundary}{seeds}"] = Table(header, cells)
    return {title: table for title, table in tables.items() if table.rows}


def _test_row(test: Mapping[str, Any], *details: str) -> list[str]:
    pair, difference = f"{test['first']} and {test['second']}", points(test["difference"], test["metric"])
    return [test["metric"], pair, difference, *details, p_value(test["p"]), p_value(test["p_holm"])]


def _edge(boundary: str, summary: Summary) -> str:
    """Return what happens at the edge of the frame in a boundary."""
    _, height, width = summary["shape"]
    description = "" if boundary == "canvas" else boundaries.get(boundary).describe(width, height)
    return paragraph("edge", boundary=boundary, description=description, width=width, height=height)


def answer(summary: Summary) -> list[str]:
    """Return the question's answer in sentences, made from the numbers: means over seeds, where there are several."""
    tests = summary["differences_over_seeds"] if summary["over_seeds"] else summary["differences"]
    answers = []
    for boundary in rows(summary):
        means = _means(summary, boundary)
        ranked = {metric: _ranked(means, metric) for metric in ("right5", "grid", "consistency")}
        answers += sentences(
            "comparison",
            summary=summary,
            data=data_name(summary["data"]),
            boundary=boundary,
            means=means,
            ranked=ranked,
            test=_test(tests[boundary], set(ranked["right5"][:2])) if len(means) > 1 else None,
            consistent_by_chance=[name for name in ranked["consistency"] if _is_by_chance(means[name])],
        )
    return answers


def _means(summary: Summary, boundary: str) -> Means:
    entries, key = (summary["over_seeds"], "mean") if summary["over_seeds"] else (summary["models"], "value")
    return {
        model_name(entry["model"]): {name: metric[key] for name, metric in entry["metrics"].items()}
        for entry in entries
        if entry["boundary"] == boundary
    }


def _test(tests: Sequence[Mapping[str, Any]], names: set[str]) -> Mapping[str, Any]:
    """Return the test of accuracy 5 pixels to the right of two models."""
    of_metric = [test for test in tests if test["metric"] == "right5"]
    return next(test for test in of_metric if {model_name(test["first"]), model_name(test["second"])} == names)


def _is_by_chance(metrics: Mapping[str, float | None]) -> bool:
    """Is nearly all of a model's consistency what errors drawn anew at each shift would give?

    A model that is nearly always right is consistent by chance too, so that a large share alone does not tell.
    """
    consistency, chance = metrics["consistency"], metrics["consistency_by_chance"]
    corrected = metrics["corrected_consistency"]
    if consistency is None or chance is None or corrected is None:
        return False
    return chance > NEARLY_ALL * consistency and corrected < 1 - NEARLY_ALL


def _ranked(means: Means, metric: str) -> list[str]:
    return sorted(means, key=lambda model: -(means[model][metric] or 0.0))


def published_table(summary: Summary) -> Table | None:
    """Return published numbers beside ours of the same thing; none on data of which nothing is published."""
    entries = load_yaml("published.yaml")["models"]
    if summary["data"] not in {entry["data"] for entry in entries}:
        return None
    measurements = {
        row.model: row for boundary, of in rows(summary).items() if boundary in ("zero", "canvas") for row in of
    }
    cells = []
    for entry in entries:
        model, metric = entry.get("measured", (None, None))
        same = entry["data"] == summary["data"] and entry.get("radius", summary["radius"]) == summary["radius"]
        measured = measurements[model].cells([metric])[0] if same and model in measurements else NOT_MEASURED
        cells.append([entry["source"], entry["quantity"], entry["result"], measured, entry["reason"]])
    note = "Ours: the stages' own recipe: Adam, 55,000 training images, the epoch chosen by 5,000 validation images."
    return Table(["source", "what", "theirs (%)", "ours (%)", "why they may differ"], cells, note)


def page(
    summary: Summary, plots: Plots, explorer: Mapping[str, Any], study: Mapping[str, Any] | None, study_plots: Plots
) -> str:
    """Return the report as HTML.

    Args:
        plots: of `plots.of_comparison`; those that the explorer shows are left out.
        explorer: what `explorer.parts` gives.
        study: the content of metrics/study.json; none where no study of the same data has been run.
        study_plots: of `study_plots.of_study`, "plane" at least where there is a study.
    """
    by_explorer = tuple(f"-{kind}" for kind in (*INTERACTIVE, *(["confusion"] if explorer["confusions"] else [])))
    means = _means(summary, summary["models"][0]["boundary"])
    return render(
        "report.html",
        summary=summary,
        data=data_name(summary["data"]),
        short_answer=short_answer(summary),
        unmoved=[metrics["clean"] or 0.0 for metrics in means.values()],
        answer=answer(summary),
        explorer=explorer,
        edges={boundary: _edge(boundary, summary) for boundary in rows(summary)},
        set_tables=set_tables(summary),
        grid_tables=grid_tables(summary),
        difference_tables=difference_tables(summary),
        study=study,
        study_answer=study_report.answer(study) if study else [],
        verdicts=study_report.verdicts_table(study) if study else None,
        published=published_table(summary),
        plots=embed({name: png for name, png in plots.items() if not name.endswith(by_explorer)}),
        study_plots=embed(study_plots if study else {}),
    )
