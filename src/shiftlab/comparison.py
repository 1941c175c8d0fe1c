"""All models side by side: one file of metrics, one table, the curves in one picture, and the notebook's last cell."""

import json
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path

from torch import Tensor

from shiftlab import files, plots, report, robustness
from shiftlab.predictions import Predictions
from shiftlab.robustness import Accuracy
from shiftlab.shifts import DIRECTIONS, shift

# (model's name, seed) -> its predictions; all on the same data
Answers = Mapping[tuple[str, int], Predictions]


def write_metrics(answers: Answers, metrics: Path, results: Path) -> str:
    """The accuracies with their intervals, as JSON and as a table in Markdown; returns the table."""
    some = next(iter(answers.values()))
    models = []
    for (model, seed), of_model in answers.items():
        sets = {
            name: {"accuracy": share.accuracy, "low": share.low, "high": share.high}
            for name, share in robustness.accuracies(of_model).items()
        }
        models.append({"model": model, "seed": seed, "sets": sets})
    comparison = {"data": some.data, "images": len(some.labels), "models": models}
    table = report.table(comparison)
    files.write(metrics, json.dumps(comparison, indent=2) + "\n")
    files.write(results, f"# Results on {some.data}\n\n{table}")
    return table


def write_curves(answers: Answers, radius: int, picture: Path, folder: Path) -> None:
    """Every model's accuracy against the shift, as one picture and as a CSV for each direction."""
    some = next(iter(answers.values()))
    curves = {
        direction: {
            label: robustness.curve(of_model, direction, radius)
            for label, of_model in zip(_labels(answers), answers.values(), strict=True)
        }
        for direction in DIRECTIONS
    }
    files.write(picture, plots.curves(curves, some.data))
    header = ["model", "shift", *(field.name for field in fields(Accuracy))]
    for direction, by_model in curves.items():
        rows = [(label, step, *astuple(share)) for label, curve in by_model.items() for step, share in curve]
        files.write(folder / f"{direction}.csv", files.table(header, rows))


def write_last_cell(answers: Answers, image: Tensor, path: Path) -> None:
    """Test image 0, uint8 `(28, 28)`, as it is and moved 5 pixels to the right, with each model's answers."""
    some = next(iter(answers.values()))
    captions = {"clean": "as it is", "right5": "5 pixels to the right"}
    called = {
        caption: {
            label: (int(of_model.sets[name].predicted[0]), float(of_model.sets[name].confidence[0]))
            for label, of_model in zip(_labels(answers), answers.values(), strict=True)
        }
        for name, caption in captions.items()
    }
    title = f"Test image 0 of {some.data}, a {some.labels[0]}: what each model calls it"
    pictures = {captions["clean"]: image.numpy(), captions["right5"]: shift(image, dx=5, dy=0).numpy()}
    files.write(path, plots.one_image(pictures, called, title))


def _labels(answers: Answers) -> list[str]:
    several = len({seed for _, seed in answers}) > 1
    return [f"{model} seed {seed}" if several else model for model, seed in answers]
