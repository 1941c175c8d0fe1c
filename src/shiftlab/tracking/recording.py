"""Log results to MLflow.

They are read from the files that DVC keeps, so that the stages, which make them, and `make sync`, which finds them in
DVC's cache, record the same.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftlab import files
from shiftlab.config.params import Augmentation, BoundaryName
from shiftlab.metrics.registry import metrics as registered_metrics
from shiftlab.reports import blocks
from shiftlab.shifts import boundaries as boundary_modes
from shiftlab.shifts.grids import DIRECTIONS
from shiftlab.tracking import registry, runs
from shiftlab.tracking.runs import Identity, Run
from shiftlab.tracking.store import Store

AT_RADIUS = {"accuracy": "accuracy at radius", "robust accuracy": "robust accuracy within radius"}
RECIPE = ("recipe", "augmentation", "lr", "batch_size", "epochs")  # the parameters that a card tells
MOST_CLASSES = 20  # whose names a card tells
MOST_COMPARED = 180  # runs, whose ids fit into what MLflow takes for a description


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def log_epochs(run: Run, epochs: Iterable[Mapping[str, float | str]]) -> None:
    """Log rows of a training's history: the column `train_loss` as the metric `train/loss`, and so on."""
    for row in epochs:
        metrics = {name.replace("_", "/"): float(value) for name, value in row.items() if name != "epoch"}
        run.log_metrics(metrics, step=int(row["epoch"]))


def log_weights(run: Run, identity: Identity, weights: Path, history: Iterable[Mapping[str, float | str]]) -> None:
    """Log a trained model, and make it a version of its architecture in the registry.

    Args:
        history: of its training, whose best validation accuracy ranks it among the versions.
    """
    digest = files.md5(weights)
    accuracy = max(float(row["validation_accuracy"]) for row in history)
    more = len(identity.classes) - MOST_CLASSES
    classes = ", ".join(identity.classes[:MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")
    run.log_tags({"weights.md5": digest, "classes": classes, "shape": "x".join(map(str, identity.shape))})
    run.log_metrics({"validation/best accuracy": accuracy})
    run.log_model(weights, identity)
    tags = {"data": identity.data, "data.md5": identity.data_md5, "seed": str(identity.seed), "weights.md5": digest}
    registry.register(run, identity.model, "model", accuracy, tags)
    _update_card(run)


def restore_training(
    store: Store,
    identity: Identity,
    settings: Mapping[str, object],
    weights: Path,
    history: str,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """Log a training whose outputs DVC took from its cache; return its run.

    Args:
        settings: what it was trained with.
        history: the content of its history.csv.
        tags: where it comes from, if not from this process.
    """
    epochs = list(csv.DictReader(history.splitlines()))
    run = runs.restore(store, identity, settings, tags or {})
    log_epochs(run, epochs)
    log_weights(run, identity, weights, epochs)
    return run


def log_evaluation(run: Run, boundary: BoundaryName, predictions_md5: str, folder: Path) -> None:
    """Log the metrics and plots of the evaluate stage's folder for one boundary mode to the run of the training.

    Raises:
        OSError, KeyError, ValueError: the folder is not as the stage leaves it.
    """
    metrics, at_radius, extent = table(folder / "metrics.csv"), table(folder / "radius.csv"), metadata(folder)
    for suffix, column in (("", "value"), (" low", "low"), (" high", "high")):
        values = {f"{boundary}{suffix}/{row['metric']}": float(row[column]) for row in metrics}
        run.log_metrics({name: value for name, value in values.items() if not math.isnan(value)})  # nan: undefined
    for direction in DIRECTIONS:
        points = [(int(row["shift"]), float(row["accuracy"])) for row in table(folder / f"accuracy-{direction}.csv")]
        run.log_curve(f"{boundary}/accuracy along {direction}", points)
    for metric, name in AT_RADIUS.items():
        points = [(int(row["radius"]), float(row["value"])) for row in at_radius if row["metric"] == metric]
        run.log_curve(f"{boundary}/{name}", points)
    cost = {"cost/parameters": extent["parameters"], "cost/multiply-adds of an image": extent["multiply_adds"]}
    run.log_metrics(cost)
    run.log_path(folder, f"evaluation/{boundary}")
    run.log_tags({f"predictions.{boundary}": predictions_md5, "evaluation": json.dumps(extent)})
    _update_card(run)


def metadata(folder: Path) -> dict[str, Any]:
    """Return what about.json, in the evaluate stage's folder for one boundary mode, says of model and data."""
    content: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return content


def log_comparison(store: Store, data: str, report: Path, plots: Path, tags: Mapping[str, str] | None = None) -> None:
    """Log the compare stage's report and plots, as a run of their own."""
    run = runs.create(store, "comparison", {"data": data, "report.md5": files.md5(report), **(tags or {})})
    run.log_path(report)
    run.log_path(plots, "pictures")
    words = "in which an image can be dragged, models compared, and the answer read"
    run.log_description(f"All models side by side: [the report]({{page}}), {words}.", report.name)


def log_study(store: Store, summary: Mapping[str, Any], folder: Path, tags: Mapping[str, str] | None = None) -> None:
    """Log the decide stage's folder as a run of its own, and below it a run for every training.

    Args:
        summary: the content of metrics/study.json.
    """
    page = files.md5(folder / "index.html")
    run = runs.create(store, "study", {"data": summary["data"], "study.md5": page, **(tags or {})})
    run.log_path(folder)
    run.log_tags({f"verdict.{claim['claim']}": claim["verdict"] for claim in summary["claims"]})
    trainings = [(variant, *training) for variant in summary["variants"] for training in enumerate(summary["seeds"])]
    children = [_log_training(run, *training) for training in trainings]
    run.log_description(
        "Where invariance comes from: [the study's page]({page}), with every claim and variant. [Its trainings]"
        "({comparison}), sorted by their components in parallel coordinates.",
        "index.html",
        [child for child in children if child][:MOST_COMPARED],
    )


def _log_training(run: Run, variant: Mapping[str, Any], index: int, seed: int) -> str:
    """Log a variant's training with the seed of an index as a run below the study's; return its id."""
    params = {
        **{key: variant[key] for key in ("variant", "architecture", "recipe", "lr", "batch_size", "epochs")},
        **variant["components"],
        "augmentation": Augmentation.model_validate(variant["augmentation"]),
        "canvas": variant["canvas"],
        "seed": seed,
    }
    values = {
        f"{boundary}/{name}": metric["values"][index]
        for boundary, metrics in variant["metrics"].items()
        for name, metric in metrics.items()
    }
    values["validation/best accuracy"] = variant["validation"][index]
    values["cost/multiply-adds of an image"] = variant["multiply_adds"]
    defined = {name: value for name, value in values.items() if value is not None}
    return runs.add_child(run, runs.run_name(variant["variant"], seed), params, defined)


def log_audit(store: Store, summary: Mapping[str, Any], folder: Path) -> None:
    """Log an audit as a run of its own, with its report.

    Args:
        summary: the content of its metrics.json.
    """
    model, data = summary["model"], summary["data"]
    tags = {"audit": model["name"], "audit.kind": model["kind"], "data": data["name"], "data.sha256": data["digest"]}
    run = runs.create(store, f"audit of {model['name']}", {**tags, "model.sha256": model["digest"]})
    values = {
        f"{boundary}/{name}": metric["value"]
        for boundary, metrics in summary["metrics"].items()
        for name, metric in metrics.items()
        if metric["value"] is not None
    }
    run.log_metrics(values)
    for name in ("report.html", "metrics.json"):
        run.log_path(folder / name)


def _update_card(run: Run) -> None:
    """Write the model's card, from what its run holds by now."""
    with run.store.best_effort():
        stored = run.client.get_run(run.id).data
        text = card(stored.params, stored.metrics, stored.tags)
        registry.describe(run, stored.params["model"], stored.tags["weights.md5"], text)


def card(params: Mapping[str, str], metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
    """Return what the model was trained on, how it does, and where its limits are, in Markdown."""
    boundaries = [boundary for boundary in boundary_modes.names() if f"{boundary}/clean" in metrics]
    table = None
    if boundaries:
        registered = registered_metrics(json.loads(tags["evaluation"])["radius"])
        labels = {key: metric.label for key, metric in registered.items() if metric.unit == "%"}
        values = {name: f"{100 * value:.2f}" for name, value in metrics.items()}
        rows = [[key, *(values.get(f"{boundary}/{key}", "undefined") for boundary in boundaries)] for key in labels]
        note = "; ".join(f"{key}: {label}" for key, label in labels.items()) + "."
        table = blocks.Table(["test images, % right", *boundaries], rows, note)
    settings = ", ".join(f"{name} {params[name]}" for name in RECIPE if name in params)
    accuracy = f"{metrics.get('validation/best accuracy', math.nan):.2%}"
    return blocks.render("card.md", params=params, tags=tags, settings=settings, accuracy=accuracy, table=table)
