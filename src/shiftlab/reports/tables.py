"""The metrics as files: tables for people, and data for DVC's plots."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np

from shiftlab import files
from shiftlab.metrics.class_scores import ClassScores
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate
from shiftlab.metrics.nearest_failing_shift import FailingShift
from shiftlab.reports import plots, primitives
from shiftlab.shifts.predictions import Predictions

ENDS = {"": "value", " low": "low", " high": "high"}  # of a column's name -> what of an estimate it holds
ACCURACY = ["accuracy", "low", "high", "images"]  # the columns of an accuracy's estimate


def write_confusions_for_dvc(answers: Predictions, folder: Path) -> None:
    """A line for each image and a file for each boundary and set: DVC's template `confusion` counts by itself."""
    names = answers.about.classes
    for name, on_set in answers.sets.items():
        pairs = zip(answers.labels, on_set.predicted, strict=True)
        lines = [(names[actual], names[predicted]) for actual, predicted in pairs]
        files.write(folder / f"{answers.about.boundary}-{name}.csv", files.table(["actual", "predicted"], lines))


def write_report(found: Metrics, model: str, seed: int, folder: Path) -> None:
    """The metrics as pictures and tables for people."""
    title = f"{model}, seed {seed}"
    for name, picture in plots.of_models({model: found}, title).items():
        files.write(folder / f"{name}.png", picture)
    write_tables(found, folder)
    extent = {name: getattr(found, name) for name in ("images", "grid_images", "radius", "shifts")}
    files.write(folder / "about.json", json.dumps(asdict(found.metadata) | extent, indent=2) + "\n")
    for name, matrix in found.confusion_matrices.items():
        caption = f"{title}, on {found.metadata.data} {name}: {found.estimates[name].value:.2%} right"
        picture = primitives.confusions({"": {"": matrix}}, found.metadata.classes, caption)
        files.write(folder / f"confusion-{name}.png", picture)
        header = ["actual", *(f"predicted {label}" for label in found.metadata.classes)]
        counts = [(label, *row) for label, row in zip(found.metadata.classes, matrix.tolist(), strict=True)]
        files.write(folder / f"confusion-{name}.csv", files.table(header, counts))


def write_curves(models: Mapping[str, Metrics], name: str, folder: Path) -> None:
    """Every model's accuracy against the shift, as a CSV for each direction, for DVC's plots.

    Args:
        models: by label, in one boundary.
        name: the boundary's.
    """
    some = next(iter(models.values()))
    for direction in some.curves:
        rows = [
            (label, step, *astuple(one)) for label, found in models.items() for step, one in found.curves[direction]
        ]
        files.write(folder / f"{name}-{direction}.csv", files.table(["model", "shift", *ACCURACY], rows))


def write_tables(found: Metrics, folder: Path) -> None:
    """The metrics as CSV."""

    def write(name: str, header: list[str], rows: Iterable[Sequence[object]]) -> None:
        files.write(folder / f"{name}.csv", files.table(header, rows))

    write("metrics", ["metric", *_names(Estimate)], [(key, *astuple(one)) for key, one in found.estimates.items()])
    for direction, curve in found.curves.items():
        write(f"accuracy-{direction}", ["shift", *ACCURACY], [(step, *astuple(one)) for step, one in curve])
    write("fractions", ["shift", *ACCURACY], [(step, *astuple(one)) for step, one in found.fractions])
    scores = [(name, *astuple(one)) for name, of_classes in found.class_scores.items() for one in of_classes]
    write("per-class", ["set", "class", *_names(ClassScores)[1:]], scores)
    reach = range(-found.radius, found.radius + 1)
    places = [(dx, dy) for dy in reach for dx in reach]
    columns = {f"{name}{end}": getattr(one, of) for name, one in found.maps.items() for end, of in ENDS.items()}
    values = zip(*(column.ravel().tolist() for column in columns.values()), strict=True)
    rows = [(*place, *row) for place, row in zip(places, values, strict=True) if not np.isnan(row[0])]
    write("maps", ["dx", "dy", *columns], rows)  # of a sample, the shifts that were evaluated
    phases = [
        (dx, dy, value, found.phases.low[dy, dx], found.phases.high[dy, dx])
        for (dy, dx), value in np.ndenumerate(found.phases.value)
    ]
    write("phase", ["dx", "dy", "accuracy", "low", "high"], phases)
    names = found.metadata.classes
    nearest = [
        (
            *(one.image, names[one.label], one.accuracy),
            *_failing_shift(one.nearest_failing_shift, names),
        )
        for one in found.nearest_failing_shifts
    ]
    write("nearest_failing_shift", ["image", "class", "accuracy", *_names(FailingShift)], nearest)
    at_radii = [
        (at.radius, name, *astuple(one))
        for at in found.radii
        for name, one in (
            ("accuracy", at.accuracy),
            ("robust accuracy", at.robust_accuracy),
            ("confidence", at.confidence),
            ("calibration error", at.calibration_error),
            ("ink", at.ink),
            *((f"accuracy of {names[label]}", one) for label, one in at.by_class.items()),
        )
    ]
    write("radius", ["radius", "metric", *_names(Estimate)], at_radii)


def _failing_shift(shift: FailingShift | None, classes: Sequence[str]) -> tuple[object, ...]:
    return (shift.dx, shift.dy, classes[shift.predicted]) if shift else ("", "", "")


def _names(of: type) -> list[str]:
    return [field.name for field in fields(of)]
