"""The metrics as files: tables for people, and data for DVC's plots."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np

from shiftlab import files
from shiftlab.metrics.class_scores import ClassScores
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate
from shiftlab.metrics.nearest_failing_shift import FailingShift
from shiftlab.reports import plots
from shiftlab.shifts.predictions import Predictions

ESTIMATE = [field.name for field in fields(Estimate)]
ACCURACY = ["accuracy", *ESTIMATE[1:]]
RADII = ("accuracy", "robust_accuracy", "confidence", "calibration_error", "ink")  # of `AtRadius`

Rows = Sequence[Sequence[object]]


def write_confusions_for_dvc(predictions: Predictions, folder: Path, seed: int) -> None:
    """Write a file for each seed, boundary and set with a line for each image: DVC's template `confusion` counts."""
    classes = np.array(predictions.metadata.classes)
    for name, on_set in predictions.sets.items():
        rows = zip(classes[predictions.labels], classes[on_set.predicted], strict=True)
        path = folder / f"{seed}-{predictions.metadata.boundary}-{name}.csv"
        files.write(path, files.table(["actual", "predicted"], rows))


def write_report(metrics: Metrics, model: str, seed: int, folder: Path) -> None:
    """Write one model's metrics in one boundary as plots and tables for people."""
    title, classes = f"{model}, seed {seed}", metrics.metadata.classes
    write_tables(metrics, folder)
    extent = {name: getattr(metrics, name) for name in ("images", "grid_images", "radius", "shifts")}
    files.write(folder / "about.json", json.dumps(asdict(metrics.metadata) | extent, indent=2) + "\n")
    every_plot = plots.of_models({model: metrics}, title)
    for name, matrix in metrics.confusion_matrices.items():
        caption = f"{title}, on {metrics.metadata.data} {name}: {metrics.estimates[name].value:.2%} right"
        every_plot[f"confusion-{name}"] = plots.confusion({model: metrics}, [name], caption)
        counts = [(label, *row) for label, row in zip(classes, matrix.tolist(), strict=True)]
        header = ["actual", *(f"predicted {label}" for label in classes)]
        files.write(folder / f"confusion-{name}.csv", files.table(header, counts))
    for name, plot in every_plot.items():
        files.write(folder / f"{name}.png", plot)


def write_curves(models: Mapping[str, Metrics], boundary: str, folder: Path) -> None:
    """Write the accuracy of models, by label, against the shift, as a CSV for each direction, for DVC's plots."""
    for direction in next(iter(models.values())).curves:
        rows = [(label, *row) for label, metrics in models.items() for row in _rows(metrics.curves[direction])]
        files.write(folder / f"{boundary}-{direction}.csv", files.table(["model", "shift", *ACCURACY], rows))


def write_tables(metrics: Metrics, folder: Path) -> None:
    """Write the metrics of one model in one boundary as CSV."""
    for name, header, rows in _tables(metrics):
        files.write(folder / f"{name}.csv", files.table(header, rows))


def _tables(metrics: Metrics) -> Iterator[tuple[str, list[str], Rows]]:
    """Yield every table: its file's name, header and rows."""
    classes = metrics.metadata.classes
    yield "metrics", ["metric", *ESTIMATE], _rows(metrics.estimates.items())
    for direction, curve in metrics.curves.items():
        yield f"accuracy-{direction}", ["shift", *ACCURACY], _rows(curve)
    yield "fractions", ["shift", *ACCURACY], _rows(metrics.fractions)
    scores = [(name, *astuple(scores)) for name, of_set in metrics.class_scores.items() for scores in of_set]
    yield "per-class", ["set", "class", *_names(ClassScores)[1:]], scores
    header = [f"{name}{end}" for name in metrics.maps for end in ("", " low", " high")]
    cells = np.stack([column for each in metrics.maps.values() for column in vars(each).values()], axis=-1)
    evaluated = np.argwhere(~np.isnan(metrics.maps["accuracy"].value)).tolist()  # of a sample, not all shifts
    by_shift = [(dx - metrics.radius, dy - metrics.radius, *cells[dy, dx].tolist()) for dy, dx in evaluated]
    yield "maps", ["dx", "dy", *header], by_shift
    phases = np.stack(list(vars(metrics.phases).values()), axis=-1)
    by_phase = [(dx, dy, *phases[dy, dx].tolist()) for dy, dx in np.ndindex(phases.shape[:2])]
    yield "phase", ["dx", "dy", *ACCURACY[:3]], by_phase
    images = [
        (image.image, classes[image.label], image.accuracy, *_failing(image.nearest_failing_shift, classes))
        for image in metrics.nearest_failing_shifts
    ]
    yield "nearest_failing_shift", ["image", "class", "accuracy", *_names(FailingShift)], images
    at_radii: list[Sequence[object]] = []
    for at in metrics.radii:
        estimates = {name.replace("_", " "): getattr(at, name) for name in RADII}
        estimates |= {f"accuracy of {classes[number]}": accuracy for number, accuracy in at.by_class.items()}
        at_radii += [(at.radius, *row) for row in _rows(estimates.items())]
    yield "radius", ["radius", "metric", *ESTIMATE], at_radii


def _rows(estimates: Iterable[tuple[object, Estimate]]) -> Rows:
    return [(key, *astuple(estimate)) for key, estimate in estimates]


def _failing(shift: FailingShift | None, classes: Sequence[str]) -> tuple[object, ...]:
    return (shift.dx, shift.dy, classes[shift.predicted]) if shift else ("", "", "")


def _names(of: type) -> list[str]:
    return [field.name for field in fields(of)]
