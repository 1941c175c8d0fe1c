"""What of a result goes to MLflow.

It is read from the files that DVC keeps, so that the stages, which make them, and `make sync`, which finds them in
DVC's cache, record the same.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftlab import files
from shiftlab.config.params import Augmentation, BoundaryName
from shiftlab.metrics.registry import metrics as registered_metrics
from shiftlab.shifts import boundaries as boundary_modes
from shiftlab.shifts.grids import DIRECTIONS
from shiftlab.tracking import registry, runs
from shiftlab.tracking.runs import Identity, Run
from shiftlab.tracking.store import Store

EPOCH = {  # the column of history.csv -> the metric
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
}
AT_RADIUS = {
    "accuracy": "accuracy at radius",
    "robust accuracy": "robust accuracy within radius",
}
MOST_CLASSES = 20  # whose names a card tells
MOST_COMPARED = 180  # runs, whose ids fit into what MLflow takes for a description


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def log_epochs(run: Run, epochs: Iterable[Mapping[str, float | str]]) -> None:
    """Log rows of a training's history."""
    for row in epochs:
        run.log_metrics({metric: float(row[column]) for column, metric in EPOCH.items()}, step=int(row["epoch"]))


def log_weights(
    run: Run,
    identity: Identity,
    weights: Path,
    shape: tuple[int, int, int],
    classes: tuple[str, ...],
    history: Iterable[Mapping[str, float | str]],
) -> None:
    """Log a trained model, and make it a version of its architecture in the registry.

    Args:
        shape: of its images: channels, height, width.
        classes: their names.
        history: of its training, whose best validation accuracy ranks it among the versions.
    """
    digest = files.md5(weights)
    accuracy = max(float(row["validation_accuracy"]) for row in history)
    run.log_tags({"weights.md5": digest, "classes": _first_names(classes), "shape": "x".join(map(str, shape))})
    run.log_metrics({"validation/best accuracy": accuracy})
    run.log_model(weights, identity.model, shape, classes)
    tags = {"data": identity.data, "data.md5": identity.data_md5, "seed": str(identity.seed), "weights.md5": digest}
    registry.register(run, identity.model, "model", accuracy, tags)
    describe(run)


def restore_training(
    store: Store,
    identity: Identity,
    settings: Mapping[str, object],
    weights: Path,
    shape: tuple[int, int, int],
    classes: tuple[str, ...],
    history: str,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """Log a training whose outputs DVC took from its cache; return its run.

    Args:
        settings: what it was trained with.
        shape: of its images: channels, height, width.
        classes: their names.
        history: the content of its history.csv.
        tags: where it comes from, if not from this process.
    """
    epochs = list(csv.DictReader(history.splitlines()))
    run = runs.restore(store, identity, settings, tags or {})
    log_epochs(run, epochs)
    log_weights(run, identity, weights, shape, classes, epochs)
    return run


def log_evaluation(run: Run, boundary: BoundaryName, predictions_md5: str, folder: Path) -> None:
    """Log the metrics and pictures of the evaluate stage's folder for one boundary to the run of the training.

    Raises:
        OSError, KeyError, ValueError: the folder is not as the stage leaves it.
    """
    metrics = {row["metric"]: row for row in table(folder / "metrics.csv")}
    extent = about(folder)
    for end, column in (("", "value"), (" low", "low"), (" high", "high")):
        values = {name: float(row[column]) for name, row in metrics.items()}
        # What is undefined is no metric.
        run.log_metrics({f"{boundary}{end}/{name}": value for name, value in values.items() if not math.isnan(value)})
    for direction in DIRECTIONS:
        points = [(int(row["shift"]), float(row["accuracy"])) for row in table(folder / f"accuracy-{direction}.csv")]
        run.log_curve(f"{boundary}/accuracy along {direction}", points)
    at_radius = table(folder / "radius.csv")
    for metric, name in AT_RADIUS.items():
        points = [(int(row["radius"]), float(row["value"])) for row in at_radius if row["metric"] == metric]
        run.log_curve(f"{boundary}/{name}", points)
    run.log_metrics(
        {"cost/parameters": extent["parameters"], "cost/multiply-adds of an image": extent["multiply_adds"]}
    )
    run.log_path(folder, f"evaluation/{boundary}")
    run.log_tags({f"predictions.{boundary}": predictions_md5, "evaluation": json.dumps(extent)})
    describe(run)


def about(folder: Path) -> dict[str, Any]:
    """Return what about.json, in the evaluate stage's folder for one boundary, says of model and data."""
    content: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return content


def log_comparison(
    store: Store, data: str, report: Path, pictures: Path, tags: Mapping[str, str] | None = None
) -> None:
    """Log the compare stage's report and pictures, as a run of their own."""
    run = runs.finished(store, "comparison", {"data": data, "report.md5": files.md5(report), **(tags or {})})
    run.log_path(report)
    run.log_path(pictures, "pictures")
    words = "in which an image can be dragged, models compared, and the answer read"
    run.describe(f"All models side by side: [the report]({{page}}), {words}.", report.name)


def log_study(store: Store, summary: Mapping[str, Any], folder: Path, tags: Mapping[str, str] | None = None) -> None:
    """Log the decide stage's folder as a run of its own, and below it a run for every training.

    Args:
        summary: the content of metrics/study.json.
    """
    page = files.md5(folder / "index.html")
    run = runs.finished(store, "study", {"data": summary["data"], "study.md5": page, **(tags or {})})
    run.log_path(folder)
    run.log_tags({f"verdict.{claim['claim']}": claim["verdict"] for claim in summary["claims"]})
    children = [
        child
        for variant in summary["variants"]
        for place, seed in enumerate(summary["seeds"])
        if (child := _log_training(run, variant, place, seed))
    ]
    run.describe(
        "Where invariance comes from: [the study's page]({page}), with every claim and variant. [Its trainings]"
        "({comparison}), sorted by their components in parallel coordinates.",
        "index.html",
        children[:MOST_COMPARED],
    )


def _log_training(run: Run, variant: Mapping[str, Any], place: int, seed: int) -> str | None:
    """Log a variant's training with the seed at a place as a run below the study's; return its id."""
    params = {
        **{key: variant[key] for key in ("variant", "architecture", "recipe", "lr", "batch_size", "epochs")},
        **variant["components"],
        "augmentation": Augmentation.model_validate(variant["augmentation"]),
        "canvas": variant["canvas"],
        "seed": seed,
    }
    values = {
        f"{boundary}/{name}": metric["values"][place]
        for boundary, metrics in variant["metrics"].items()
        for name, metric in metrics.items()
    }
    values |= {
        "validation/best accuracy": variant["validation"][place],
        "cost/multiply-adds of an image": variant["multiply_adds"],
    }
    defined = {name: value for name, value in values.items() if value is not None}
    return runs.add_child(run, runs.run_name(variant["variant"], seed), params, defined)


def log_search(run: Run, words: str, folder: Path) -> None:
    """Log what a search for a recipe came to, to the run that its trials are below.

    Args:
        words: the outcome, in Markdown.
    """
    run.log_path(folder)
    run.describe(f"{words}\n\n[Its picture]({{page}}).", "search.png")


def log_audit(store: Store, summary: Mapping[str, Any], folder: Path) -> None:
    """Log an audit as a run of its own, with its report.

    Args:
        summary: the content of its metrics.json.
    """
    model, data = summary["model"], summary["data"]
    tags = {"audit": model["name"], "audit.kind": model["kind"], "data": data["name"], "data.sha256": data["digest"]}
    run = runs.finished(store, f"audit of {model['name']}", {**tags, "model.sha256": model["digest"]})
    values = {
        f"{boundary}/{name}": metric["value"]
        for boundary, metrics in summary["metrics"].items()
        for name, metric in metrics.items()
        if metric["value"] is not None
    }
    run.log_metrics(values)
    for name in ("report.html", "metrics.json"):
        run.log_path(folder / name)


def describe(run: Run) -> None:
    """Write the model's card, from what its run holds by now."""
    if stored := run.stored():
        params, metrics, tags = stored.data.params, stored.data.metrics, stored.data.tags
        registry.describe(run, params["model"], tags["weights.md5"], card(params, metrics, tags))


def card(params: Mapping[str, str], metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
    """Return what the model was trained on, how it does, and where its limits are, in Markdown."""
    settings = ", ".join(
        f"{name} {params[name]}" for name in ("recipe", "augmentation", "lr", "batch_size", "epochs") if name in params
    )
    lines = [
        f"# {params['model']}, seed {params['seed']}, trained on {params['data']}",
        "",
        f"Trained with {settings}; the epoch was chosen on validation images, of which it calls "
        f"{metrics.get('validation/best accuracy', float('nan')):.2%} right. Data: `{tags['data.md5']}`, weights: "
        f"`{tags['weights.md5']}` (MD5).",
        "",
        f"It takes raw images like those, 0 to 255, of {tags['shape']} (channels, height, width), and gives a logit "
        f"for each class: {tags['classes']}.",
    ]
    boundaries = [boundary for boundary in boundary_modes.names() if f"{boundary}/clean" in metrics]
    if boundaries:
        lines += ["", "| test images, % right | " + " | ".join(boundaries) + " |", "|---|" + "---|" * len(boundaries)]
        radius = json.loads(tags["evaluation"])["radius"]
        proportions = {key: one for key, one in registered_metrics(radius).items() if one.unit == "%"}
        lines += [
            f"| {key} | " + " | ".join(_percent(metrics, f"{boundary}/{key}") for boundary in boundaries) + " |"
            for key in proportions
        ]
        lines += ["", "; ".join(f"{key}: {one.label}" for key, one in proportions.items()) + "."]
    lines += [
        "",
        "Limits: images as the training data has them. What lies elsewhere in the frame is often called wrong, as the "
        "table says, and the probabilities do not tell. An image of none of the classes is called one of them too.",
        "",
        "The run `comparison` has the report, in which it stands beside the others.",
    ]
    return "\n".join(lines)


def _percent(metrics: Mapping[str, float], name: str) -> str:
    return f"{100 * metrics[name]:.2f}" if name in metrics else "undefined"


def _first_names(classes: Sequence[str]) -> str:
    """Return the names of the classes, of many the first."""
    more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    return ", ".join(classes[:MOST_CLASSES]) + more
