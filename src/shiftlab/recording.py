"""What of a result goes to MLflow.

It is read from the files that DVC keeps, so that the stages, which make them, and `make sync`, which finds them in
DVC's cache, record the same.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftlab import files
from shiftlab.params import RegimeName
from shiftlab.shifts import DIRECTIONS
from shiftlab.tracking import Identity, Run, Tracker

EPOCH = {  # the column of history.csv -> the metric
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
}
AT_RADIUS = {"accuracy": "accuracy at radius", "worst case": "worst case within radius"}  # figure -> the curve
SETS = ("clean", "right5", "right4", "translate3", "random5", "grid", "consistency")  # of a model's card, in %


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def log_epochs(run: Run, epochs: Iterable[Mapping[str, float | str]]) -> None:
    """Log rows of a training's history."""
    for row in epochs:
        run.log_metrics({metric: float(row[column]) for column, metric in EPOCH.items()}, step=int(row["epoch"]))


def log_weights(
    tracker: Tracker,
    run: Run,
    identity: Identity,
    weights: Path,
    size: int,
    history: Iterable[Mapping[str, float | str]],
) -> None:
    """Log a trained model, and make it a version of its architecture in the registry.

    Args:
        size: of its images, pixels a side.
        history: of its training, whose best validation accuracy ranks it among the versions.
    """
    digest = files.md5(weights)
    accuracy = max(float(row["validation_accuracy"]) for row in history)
    run.log_tags({"weights.md5": digest})
    run.log_metrics({"validation/best accuracy": accuracy})
    run.log_model(weights, identity.model, size)
    tags = {"data": identity.data, "data.md5": identity.data_md5, "seed": str(identity.seed), "weights.md5": digest}
    tracker.register(run, identity.model, "model", accuracy, tags)
    describe(tracker, run)


def restore_training(
    tracker: Tracker,
    identity: Identity,
    settings: Mapping[str, object],
    weights: Path,
    size: int,
    history: str,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """A run for a training whose outputs DVC took from its cache.

    Args:
        settings: what it was trained with.
        size: of its images, pixels a side.
        history: the content of its history.csv.
        tags: where it comes from, if not from this process.
    """
    epochs = list(csv.DictReader(history.splitlines()))
    run = tracker.restore(identity, settings, tags or {})
    log_epochs(run, epochs)
    log_weights(tracker, run, identity, weights, size, epochs)
    return run


def log_evaluation(tracker: Tracker, run: Run, regime: RegimeName, predictions_md5: str, folder: Path) -> None:
    """Log the figures and pictures of the evaluate stage's folder for one regime to the run of the training.

    Raises:
        OSError, KeyError, ValueError: the folder is not as the stage leaves it.
    """
    figures = {row["set"]: row for row in table(folder / "sets.csv")}
    figures |= {row["figure"]: row for row in table(folder / "summary.csv")}
    extent = about(folder)
    for end, column in (("", "value"), (" low", "low"), (" high", "high")):
        run.log_metrics({f"{regime}{end}/{name}": float(row[column]) for name, row in figures.items()})
    for direction in DIRECTIONS:
        points = [(int(row["shift"]), float(row["accuracy"])) for row in table(folder / f"accuracy-{direction}.csv")]
        run.log_curve(f"{regime}/accuracy along {direction}", points)
    at_radius = table(folder / "radius.csv")
    for figure, name in AT_RADIUS.items():
        points = [(int(row["radius"]), float(row["value"])) for row in at_radius if row["figure"] == figure]
        run.log_curve(f"{regime}/{name}", points)
    run.log_metrics(
        {"cost/parameters": extent["parameters"], "cost/multiply-adds of an image": extent["multiply_adds"]}
    )
    run.log_path(folder, f"evaluation/{regime}")
    run.log_tags({f"predictions.{regime}": predictions_md5, "evaluation": json.dumps(extent)})
    describe(tracker, run)


def about(folder: Path) -> dict[str, Any]:
    """What the evaluate stage's folder for one regime is about."""
    found: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return found


def log_comparison(
    tracker: Tracker, data: str, report: Path, pictures: Path, tags: Mapping[str, str] | None = None
) -> None:
    """Log the compare stage's report and pictures, as a run of their own."""
    run = tracker.compared(data, {"report.md5": files.md5(report), **(tags or {})})
    run.log_path(report)
    run.log_path(pictures, "pictures")


def describe(tracker: Tracker, run: Run) -> None:
    """Write the model's card, from what its run holds by now."""
    if found := run.found():
        params, metrics, tags = found.data.params, found.data.metrics, found.data.tags
        tracker.describe(run, params["model"], tags["weights.md5"], card(params, metrics, tags))


def card(params: Mapping[str, str], metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
    """What the model was trained on, how it does, and where its limits are, in Markdown."""
    settings = ", ".join(
        f"{name} {params[name]}" for name in ("recipe", "lr", "batch_size", "epochs") if name in params
    )
    lines = [
        f"# {params['model']}, seed {params['seed']}, trained on {params['data']}",
        "",
        f"Trained with {settings}; the epoch was chosen on validation images, of which it calls "
        f"{metrics.get('validation/best accuracy', float('nan')):.2%} right. Data: `{tags['data.md5']}`, weights: "
        f"`{tags['weights.md5']}` (MD5).",
        "",
        "It takes raw images, 0 to 255, light digits on black, and gives a logit for each of the ten digits.",
    ]
    regimes = [regime for regime in ("zero", "circular") if f"{regime}/clean" in metrics]
    if regimes:
        lines += ["", "| test images, % right | " + " | ".join(regimes) + " |", "|---|" + "---|" * len(regimes)]
        lines += [
            f"| {name} | " + " | ".join(f"{100 * metrics[f'{regime}/{name}']:.2f}" for regime in regimes) + " |"
            for name in SETS
        ]
        lines += [
            "",
            "right5, right4: moved 5 and 4 pixels to the right; translate3: 3 pixels either way along both axes; "
            "random5: up to 5 pixels; grid: mean over all shifts; consistency: how often two shifts get one answer.",
        ]
    lines += [
        "",
        "Limits: centred handwritten digits, as the training data has them. Digits that lie elsewhere are often called "
        "wrong, as the table says, and the probabilities do not tell. Images without a digit get one of the ten too.",
    ]
    return "\n".join(lines)
