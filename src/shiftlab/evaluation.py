"""One model's figures, and the files they go to: metrics, data for DVC's plots, a folder of pictures and tables."""

import json
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiftlab import files, plots, robustness
from shiftlab.predictions import Predictions
from shiftlab.robustness import Accuracy
from shiftlab.shifts import DIRECTIONS

Curve = list[tuple[int, Accuracy]]  # (step in pixels, accuracy there)


@dataclass(frozen=True)
class Figures:
    """What PROTOCOL.md, "Figures", asks of one model."""

    accuracies: dict[str, Accuracy]  # by evaluation set
    curves: dict[str, Curve]  # by direction
    confusions: dict[str, NDArray[np.int64]]  # by evaluation set, (10, 10): rows actual, columns predicted
    scores: dict[str, list[robustness.ClassScores]]  # by evaluation set


def figures(answers: Predictions, radius: int) -> Figures:
    """All figures of one model's predictions; curves go from -radius to radius pixels."""
    sets, labels = answers.sets, answers.labels
    return Figures(
        accuracies=robustness.accuracies(answers),
        curves={direction: robustness.curve(answers, direction, radius) for direction in DIRECTIONS},
        confusions={name: robustness.confusion(on_set.predicted, labels) for name, on_set in sets.items()},
        scores={name: robustness.per_class(on_set.predicted, labels) for name, on_set in sets.items()},
    )


def write_metrics(found: Figures, data: str, path: Path) -> None:
    """The accuracy on every set, as JSON that `dvc metrics` shows in one row."""
    metrics = {name: share.accuracy for name, share in found.accuracies.items()}
    files.write(path, json.dumps({"data": data, **metrics}, indent=2) + "\n")


def write_confusions_for_dvc(answers: Predictions, folder: Path) -> None:
    """A line for each image and a file for each set: DVC's template `confusion` counts by itself."""
    for name, on_set in answers.sets.items():
        lines = zip(answers.labels, on_set.predicted, strict=True)
        files.write(folder / f"{name}.csv", files.table(["actual", "predicted"], lines))


def write_report(found: Figures, model: str, seed: int, data: str, folder: Path) -> None:
    """The figures as pictures and tables for people."""
    by_model = {direction: {model: curve} for direction, curve in found.curves.items()}
    files.write(folder / "accuracy.png", plots.curves(by_model, data))
    for direction, curve in found.curves.items():
        rows = [(step, *astuple(share)) for step, share in curve]
        files.write(folder / f"accuracy-{direction}.csv", files.table(["shift", *_names(Accuracy)], rows))
    for name, matrix in found.confusions.items():
        title = f"{model}, seed {seed}, on {data} {name}: {found.accuracies[name].accuracy:.2%} right"
        files.write(folder / f"confusion-{name}.png", plots.confusion(matrix, title))
        header = ["actual", *(f"predicted {digit}" for digit in robustness.CLASSES)]
        counts = [(digit, *row) for digit, row in enumerate(matrix.tolist())]
        files.write(folder / f"confusion-{name}.csv", files.table(header, counts))
    scores = [(name, *astuple(digit)) for name, digits in found.scores.items() for digit in digits]
    files.write(folder / "per-class.csv", files.table(["set", *_names(robustness.ClassScores)], scores))


def _names(of: type) -> list[str]:
    return [field.name for field in fields(of)]
