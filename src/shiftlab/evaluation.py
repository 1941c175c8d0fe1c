"""One model's figures in one regime, and the files they go to: metrics, data for DVC's plots, pictures and tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiftlab import files, plots, robustness
from shiftlab.params import IMAGE_SIZE
from shiftlab.plots import AXIS_LABELS, Line, Panel
from shiftlab.predictions import About, Predictions
from shiftlab.robustness import AtRadius, Breaking, ClassScores, Estimate, Estimates, Fragility
from shiftlab.shifts import DIRECTIONS

WORST_CASE_WITHIN = 3  # pixels at most, for the one number that stands in tables: MNIST-C's default severity

ENDS = {"": "value", " low": "low", " high": "high"}  # of a column's name -> what of an estimate it holds
ACCURACY = ["accuracy", "low", "high", "images"]  # the columns of an accuracy's estimate

Curve = list[tuple[int, Estimate]]  # (step in pixels, accuracy there)
Maps = dict[str, Estimates]  # (D, D) each


@dataclass(frozen=True)
class Figures:
    """What PROTOCOL.md, "Figures", asks of one model in one regime."""

    about: About
    images: int  # test images, for sets and curves
    grid_images: int  # of them, for maps and all that is made of them
    radius: int  # pixels
    accuracies: dict[str, Estimate]  # by evaluation set
    curves: dict[str, Curve]  # by direction
    fractions: list[tuple[float, Estimate]]  # (pixels to the right, accuracy there)
    confusions: dict[str, NDArray[np.int64]]  # by evaluation set, (10, 10): rows actual, columns predicted
    scores: dict[str, list[ClassScores]]  # by evaluation set
    maps: Maps  # by figure
    summary: dict[str, Estimate]  # of the grid
    radii: list[AtRadius]
    phases: Estimates  # (period, period): row dy, column dx
    fragility: list[Fragility]


def figures(answers: Predictions, radius: int, phase: int) -> Figures:
    """All figures of one model's predictions; curves and maps go from -radius to radius pixels."""
    sets, labels, grid = answers.sets, answers.labels, answers.grid
    on_grid = labels[grid.images]
    right = grid.predicted == on_grid
    radii = robustness.by_radius(grid, on_grid)
    middle = grid.predicted[len(grid.predicted) // 2]
    return Figures(
        about=answers.about,
        images=len(labels),
        grid_images=len(on_grid),
        radius=radius,
        accuracies=robustness.accuracies(answers),
        curves={direction: robustness.curve(answers, direction, radius) for direction in DIRECTIONS},
        fractions=[
            (float(pixels), robustness.accuracy(row, labels))
            for pixels, row in zip(answers.fractions, answers.on_fractions, strict=True)
        ],
        confusions={name: robustness.confusion(on_set.predicted, labels) for name, on_set in sets.items()},
        scores={name: robustness.per_class(on_set.predicted, labels) for name, on_set in sets.items()},
        maps={
            "accuracy": robustness.accuracy_map(right),
            "agreement": robustness.agreement_map(grid.predicted),
            "agreement where right": robustness.agreement_where_right_map(grid.predicted, on_grid),
            "euclidean distance": robustness.sensitivity_map(grid.euclidean),
            "cosine distance": robustness.sensitivity_map(grid.cosine),
            "ink": robustness.ink_map(grid.ink),
        },
        summary={
            "grid": robustness.mean(right.mean(axis=0)),
            "consistency": robustness.mean(robustness.consistency(grid.predicted)),
            "agreement": robustness.mean((grid.predicted == middle).mean(axis=0)),
            "worst_case": radii[worst_case_within(radius)].worst_case,
            "euclidean": robustness.mean(grid.euclidean.mean(axis=0, dtype=np.float64)),
            "cosine": robustness.mean(grid.cosine.mean(axis=0, dtype=np.float64)),
        },
        radii=radii,
        phases=robustness.phases(right, grid.shifts, phase),
        fragility=robustness.fragility(grid, on_grid),
    )


def worst_case_within(radius: int) -> int:
    """Within how many pixels the summary's worst case is taken, of a grid of `radius`."""
    return min(WORST_CASE_WITHIN, radius)


def regime_name(about: About) -> str:
    """The regime as PROTOCOL.md calls it: on a canvas, `zero` is `canvas`."""
    return "canvas" if about.regime == "zero" and about.size > IMAGE_SIZE else about.regime


def write_confusions_for_dvc(answers: Predictions, folder: Path) -> None:
    """A line for each image and a file for each regime and set: DVC's template `confusion` counts by itself."""
    for name, on_set in answers.sets.items():
        lines = zip(answers.labels, on_set.predicted, strict=True)
        files.write(folder / f"{answers.about.regime}-{name}.csv", files.table(["actual", "predicted"], lines))


def write_report(found: Figures, model: str, seed: int, folder: Path) -> None:
    """The figures as pictures and tables for people."""
    title = f"{model}, seed {seed}"
    for name, picture in pictures({model: found}, title).items():
        files.write(folder / f"{name}.png", picture)
    _write_tables(found, folder)
    extent = {"images": found.images, "grid_images": found.grid_images, "radius": found.radius}
    files.write(folder / "about.json", json.dumps(asdict(found.about) | extent, indent=2) + "\n")
    for name, matrix in found.confusions.items():
        caption = f"{title}, on {found.about.data} {name}: {found.accuracies[name].value:.2%} right"
        files.write(folder / f"confusion-{name}.png", plots.confusions({"": {"": matrix}}, caption))
        header = ["actual", *(f"predicted {digit}" for digit in robustness.CLASSES)]
        counts = [(digit, *row) for digit, row in enumerate(matrix.tolist())]
        files.write(folder / f"confusion-{name}.csv", files.table(header, counts))


def pictures(models: Mapping[str, Figures], who: str = "") -> dict[str, bytes]:
    """All pictures but confusion matrices, by name, as PNG; of one model or of several side by side in one regime."""
    some = next(iter(models.values()))
    where = f"{some.about.data}, regime {regime_name(some.about)}"
    of_all = ", ".join(filter(None, [who, where, f"{some.images:,} images"]))
    of_grid = ", ".join(filter(None, [who, where, f"{some.grid_images:,} images, radius {some.radius}"]))
    shares = {name: _maps(models, name) for name in ("accuracy", "agreement", "agreement where right")}
    distances = {name: _maps(models, name) for name in ("euclidean distance", "cosine distance")}
    return {
        "accuracy": _curves(models, f"{of_all}: accuracy against shift (band: 95% Wilson interval)"),
        "maps": plots.maps(
            _values(shares),
            f"{of_grid}: accuracy, and agreement with the unshifted image (a cell's 95% Wilson interval reaches "
            f"{100 * _reach(shares):.1f} points either way at most)",
        ),
        "sensitivity": plots.maps(
            _values(distances),
            f"{of_grid}: how far probabilities move (a cell's 95% interval reaches {_reach(distances):.3f} either way "
            "at most)",
            limits=None,
        ),
        "radius": _radii(models, f"{of_grid}: against the Chebyshev radius (bands: 95%)"),
        "classes": _classes(models, f"{of_grid}: accuracy of each digit"),
        "phase": plots.phases(
            {label: found.phases for label, found in models.items()},
            f"{of_grid}: accuracy in % by stride phase, with 95% intervals",
        ),
        "fractions": _fractions(models, f"{of_all}: by parts of a pixel (band: 95% Wilson interval)"),
    }


def _curves(models: Mapping[str, Figures], title: str) -> bytes:
    some = next(iter(models.values()))
    steps = range(-some.radius, some.radius + 1)
    centre = some.radius
    ink = some.maps["ink"]
    everywhere = range(len(steps))
    along = {
        "x": ([centre] * len(steps), everywhere),
        "y": (everywhere, [centre] * len(steps)),
        "diagonal": (everywhere, everywhere),
    }
    top = [
        Panel(
            {label: Line.of(steps, [one for _, one in found.curves[direction]]) for label, found in models.items()},
            AXIS_LABELS[direction],
            "accuracy" if direction == "x" else "",
        )
        for direction in DIRECTIONS
    ]
    bottom = [
        Panel({"ink": Line.along(steps, ink, along[direction])}, AXIS_LABELS[direction], "ink in the frame")
        for direction in DIRECTIONS
    ]
    return plots.panels([top, bottom], title, legend="lower center")


def _maps(models: Mapping[str, Figures], name: str) -> Maps:
    return {label: found.maps[name] for label, found in models.items()}


def _values(rows: Mapping[str, Maps]) -> dict[str, dict[str, robustness.Floats]]:
    return {name: {label: one.value for label, one in of_models.items()} for name, of_models in rows.items()}


def _reach(rows: Mapping[str, Maps]) -> float:
    """Half of the width of the widest interval of all cells."""
    return max(one.reach for of_models in rows.values() for one in of_models.values())


def _radii(models: Mapping[str, Figures], title: str) -> bytes:
    some = next(iter(models.values()))
    radii = [one.radius for one in some.radii]
    lines: dict[str, dict[str, Line]] = {
        "accuracy, mean over the radius": {
            label: Line.of(radii, [one.accuracy for one in found.radii]) for label, found in models.items()
        },
        "worst case: right at every shift within": {
            label: Line.of(radii, [one.worst_case for one in found.radii]) for label, found in models.items()
        },
        "mean confidence": {
            label: Line.of(radii, [one.confidence for one in found.radii]) for label, found in models.items()
        },
        "expected calibration error": {
            label: Line.of(radii, [one.calibration_error for one in found.radii]) for label, found in models.items()
        },
    }
    row = [Panel(of_models, "radius (pixels)", "share", name) for name, of_models in lines.items()]
    return plots.panels([row], title)


def _classes(models: Mapping[str, Figures], title: str) -> bytes:
    row = [
        Panel(
            {
                str(digit): Line.of([at.radius for at in found.radii], [at.by_class[digit] for at in found.radii])
                for digit in found.radii[0].by_class
            },
            "radius (pixels)",
            "accuracy",
            label,
        )
        for label, found in models.items()
    ]
    return plots.panels([row], title)


def _fractions(models: Mapping[str, Figures], title: str) -> bytes:
    lines = {
        label: Line.of([pixels for pixels, _ in found.fractions], [one for _, one in found.fractions])
        for label, found in models.items()
    }
    return plots.panels([[Panel(lines, AXIS_LABELS["x"], "accuracy", y_limits=None)]], title)


def _write_tables(found: Figures, folder: Path) -> None:
    def write(name: str, header: list[str], rows: Iterable[Sequence[object]]) -> None:
        files.write(folder / f"{name}.csv", files.table(header, rows))

    write("sets", ["set", *_names(Estimate)], [(name, *astuple(one)) for name, one in found.accuracies.items()])
    for direction, curve in found.curves.items():
        write(f"accuracy-{direction}", ["shift", *ACCURACY], [(step, *astuple(one)) for step, one in curve])
    write("fractions", ["shift", *ACCURACY], [(step, *astuple(one)) for step, one in found.fractions])
    scores = [(name, *astuple(digit)) for name, digits in found.scores.items() for digit in digits]
    write("per-class", ["set", *_names(ClassScores)], scores)
    reach = range(-found.radius, found.radius + 1)
    places = [(dx, dy) for dy in reach for dx in reach]
    columns = {f"{name}{end}": getattr(one, of) for name, one in found.maps.items() for end, of in ENDS.items()}
    values = zip(*(column.ravel().tolist() for column in columns.values()), strict=True)
    write("maps", ["dx", "dy", *columns], [(*place, *row) for place, row in zip(places, values, strict=True)])
    write("summary", ["figure", *_names(Estimate)], [(name, *astuple(one)) for name, one in found.summary.items()])
    phases = [
        (dx, dy, value, found.phases.low[dy, dx], found.phases.high[dy, dx])
        for (dy, dx), value in np.ndenumerate(found.phases.value)
    ]
    write("phase", ["dx", "dy", "accuracy", "low", "high"], phases)
    fragility = [
        (one.image, one.digit, one.right, *(astuple(one.breaking) if one.breaking else ("", "", "")))
        for one in found.fragility
    ]
    write("fragility", ["image", "digit", "right", *_names(Breaking)], fragility)
    rows = [
        (at.radius, name, *astuple(one))
        for at in found.radii
        for name, one in (
            ("accuracy", at.accuracy),
            ("worst case", at.worst_case),
            ("confidence", at.confidence),
            ("calibration error", at.calibration_error),
            ("ink", at.ink),
            *((f"accuracy of {digit}", one) for digit, one in at.by_class.items()),
        )
    ]
    write("radius", ["radius", "figure", *_names(Estimate)], rows)


def as_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Estimates by name, as JSON has them."""
    return {name: asdict(one) for name, one in estimates.items()}


def _names(of: type) -> list[str]:
    return [field.name for field in fields(of)]
