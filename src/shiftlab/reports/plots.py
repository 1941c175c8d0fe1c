"""Which plots are drawn of the metrics: of one model, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shiftlab.config.params import BoundaryName
from shiftlab.metrics.comparison import MetricsByKey, PredictionsByKey, boundaries, first_seed, of_boundary
from shiftlab.metrics.evaluation import Metrics, boundary_name
from shiftlab.metrics.intervals import Estimates, Floats
from shiftlab.metrics.nearest_failing_shift import ImageRobustness
from shiftlab.reports import primitives
from shiftlab.reports.columns import MODELS, data_name
from shiftlab.reports.primitives import AXIS_LABELS, Line, Panel
from shiftlab.shifts.boundaries import Frame, shift
from shiftlab.shifts.grids import DIRECTIONS
from shiftlab.shifts.predictions import Predictions

if TYPE_CHECKING:  # the stage evaluate, which shows no image, does without paying for PyTorch's import
    from torch import Tensor

SHOWN = 10  # images in each row of the gallery
MOST_LINES = 10  # classes in a panel; of more, the worst

Maps = dict[str, Estimates]  # (D, D) each


def of_models(models: Mapping[str, Metrics], who: str = "") -> dict[str, bytes]:
    """All pictures but confusion matrices, by name, as PNG; of one model or of several side by side in one boundary."""
    some = next(iter(models.values()))
    where = f"{some.metadata.data}, boundary {boundary_name(some.metadata)}"
    of_all = ", ".join(filter(None, [who, where, f"{some.images:,} images"]))
    extent = f"{some.grid_images:,} images, radius {some.radius}"
    drawn = "" if some.complete else f"{some.shifts} of the shifts, drawn"
    of_grid = ", ".join(filter(None, [who, where, extent, drawn]))
    shares = {name: _maps(models, name) for name in ("accuracy", "agreement", "agreement where right")}
    distances = {name: _maps(models, name) for name in ("euclidean distance", "cosine distance")}
    return {
        "accuracy": _curves(models, f"{of_all}: accuracy against shift (band: 95% Wilson interval)"),
        "maps": primitives.maps(
            _side_by_side(_values(shares)),
            f"{of_grid}: accuracy, and agreement with the unshifted image (a cell's 95% Wilson interval reaches "
            f"{100 * _reach(shares):.1f} points either way at most)",
        ),
        "sensitivity": primitives.maps(
            _values(distances),
            f"{of_grid}: how far probabilities move (a cell's 95% interval reaches {_reach(distances):.3f} either way "
            "at most)",
            limits=None,
        ),
        "radius": _radii(models, f"{of_grid}: against the Chebyshev radius (bands: 95%)"),
        "classes": _classes(models, f"{of_grid}: accuracy of each class"),
        "phase": primitives.phases(
            {label: found.phases for label, found in models.items()},
            f"{of_grid}: accuracy in % by stride phase, with 95% intervals",
        ),
        "fractions": _fractions(models, f"{of_all}: by parts of a pixel (band: 95% Wilson interval)"),
    }


def of_unlabelled(models: Mapping[str, Metrics]) -> dict[str, bytes]:
    """The pictures that need no labels, of one model or of several side by side in one boundary."""
    some = next(iter(models.values()))
    where = f"{some.metadata.data}, boundary {boundary_name(some.metadata)}"
    extent = f"{where}, {some.grid_images:,} images, radius {some.radius}"
    agreement = {"agreement": _maps(models, "agreement")}
    distances = {name: _maps(models, name) for name in ("euclidean distance", "cosine distance")}
    return {
        "maps": primitives.maps(_values(agreement), f"{extent}: agreement with the unshifted image"),
        "sensitivity": primitives.maps(_values(distances), f"{extent}: how far probabilities move", limits=None),
    }


def of_comparison(answers: PredictionsByKey, found: MetricsByKey, images: Tensor) -> dict[str, bytes]:
    """Every picture of the report by name, as PNG; with several seeds, those of the first.

    Args:
        images: the test images, uint8 `(N, C, H, W)`.
    """
    first = first_seed(found)
    drawn: dict[str, bytes] = {}
    for boundary, name in boundaries(found).items():
        models = of_boundary(first, boundary)
        drawn |= {f"{name}-{kind}": picture for kind, picture in of_models(models).items()}
        classes = next(iter(models.values())).metadata.classes
        drawn[f"{name}-confusion"] = primitives.confusions(
            {label: {on: one.confusion_matrices[on] for on in ("clean", "right5")} for label, one in models.items()},
            classes,
            f"boundary {name}: confusion matrices, as they are and 5 pixels to the right",
        )
        for label, metrics in models.items():
            drawn[f"{name}-gallery-{label}"] = gallery(metrics, label, images)
    answers_of_first = first_seed(answers)
    some = next(iter(answers_of_first))
    drawn["image-0"] = plot_example(of_boundary(answers_of_first, some[2]), images[0])
    return drawn


def against_shift(found: MetricsByKey, images: Tensor) -> bytes:
    """Each model's accuracy against the shift to the right in the first boundary, mean over seeds, as PNG.

    Args:
        images: the test images, uint8 `(N, C, H, W)`.
    """
    some = next(iter(found.values()))
    curves: dict[str, list[list[float]]] = {}
    for (model, _, boundary), one in found.items():
        if boundary == some.metadata.boundary:
            to_the_right = [accuracy.value for step, accuracy in one.curves["x"] if step >= 0]
            curves.setdefault(MODELS.get(model, model), []).append(to_the_right)
    means = {name: np.mean(of_seeds, axis=0) for name, of_seeds in curves.items()}
    return primitives.against_shift(
        means, _cut_from(some, images), f"Test images of {data_name(some.metadata.data)} classified right (%)"
    )


def _cut_from(some: Metrics, images: Tensor) -> int | None:
    """The shift to the right from which on the edge cuts off more than `CUT_OFF` of the ink of all images."""
    if some.metadata.boundary != "zero":  # elsewhere nothing is lost, or other content comes in
        return None
    columns = shift(images, 0, 0, some.metadata.boundary, some.metadata.shape[1:]).sum(dim=(0, 1, 2)).numpy()
    lost = columns[::-1].cumsum()[: some.radius] / columns.sum()  # by 1, 2... pixels
    beyond = np.flatnonzero(lost > primitives.CUT_OFF)
    return int(beyond[0]) + 1 if len(beyond) else None


def _curves(models: Mapping[str, Metrics], title: str) -> bytes:
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
    return primitives.panels([top, bottom], title, legend="lower center")


def _maps(models: Mapping[str, Metrics], name: str) -> Maps:
    return {label: found.maps[name] for label, found in models.items()}


def _values(rows: Mapping[str, Maps]) -> dict[str, dict[str, Floats]]:
    return {name: {label: one.value for label, one in of_models.items()} for name, of_models in rows.items()}


def _side_by_side(rows: dict[str, dict[str, Floats]]) -> dict[str, dict[str, Floats]]:
    """The metrics of a single model in one row, not one below the other."""
    (labels, *_) = rows.values()
    if len(labels) > 1:
        return rows
    return {label: {name: of_models[label] for name, of_models in rows.items()} for label in labels}


def _reach(rows: Mapping[str, Maps]) -> float:
    """Half of the width of the widest interval of all cells."""
    return max(one.reach for of_models in rows.values() for one in of_models.values())


def _radii(models: Mapping[str, Metrics], title: str) -> bytes:
    some = next(iter(models.values()))
    radii = [one.radius for one in some.radii]
    lines: dict[str, dict[str, Line]] = {
        "accuracy, mean over the radius": {
            label: Line.of(radii, [one.accuracy for one in found.radii]) for label, found in models.items()
        },
        "robust accuracy: right at every shift within": {
            label: Line.of(radii, [one.robust_accuracy for one in found.radii]) for label, found in models.items()
        },
        "mean confidence": {
            label: Line.of(radii, [one.confidence for one in found.radii]) for label, found in models.items()
        },
        "expected calibration error": {
            label: Line.of(radii, [one.calibration_error for one in found.radii]) for label, found in models.items()
        },
    }
    row = [Panel(of_models, "radius (pixels)", "share", name) for name, of_models in lines.items()]
    return primitives.panels([row], title)


def _classes(models: Mapping[str, Metrics], title: str) -> bytes:
    row = [
        Panel(
            {
                found.metadata.classes[label]: Line.of(
                    [at.radius for at in found.radii], [at.by_class[label] for at in found.radii]
                )
                for label in _worst_classes(found)
            },
            "radius (pixels)",
            "accuracy",
            label,
        )
        for label, found in models.items()
    ]
    more = len(_classes_on_grid(models)) > MOST_LINES
    return primitives.panels([row], title + f" (the {MOST_LINES} with the lowest, on average)" * more, legends=more)


def _classes_on_grid(models: Mapping[str, Metrics]) -> list[int]:
    """The classes that have images on the grid."""
    return list(next(iter(models.values())).radii[0].by_class)


def _worst_classes(found: Metrics) -> list[int]:
    """All of them in their order where they are few, else those of lowest mean accuracy over the radii."""
    labels = list(found.radii[0].by_class)
    if len(labels) <= MOST_LINES:
        return labels
    return sorted(labels, key=lambda label: sum(at.by_class[label].value for at in found.radii))[:MOST_LINES]


def _fractions(models: Mapping[str, Metrics], title: str) -> bytes:
    lines = {
        label: Line.of([pixels for pixels, _ in found.fractions], [one for _, one in found.fractions])
        for label, found in models.items()
    }
    return primitives.panels([[Panel(lines, AXIS_LABELS["x"], "accuracy", y_limits=None)]], title)


def plot_example(answers: Mapping[str, Predictions], image: Tensor) -> bytes:
    """Test image 0, uint8 `(C, H, W)`, as it is and moved 5 pixels to the right, with each model's answers, as PNG.

    Args:
        answers: by the model's label, in one boundary.
    """
    some = next(iter(answers.values()))
    names = some.about.classes
    captions = {"clean": "as it is", "right5": "5 pixels to the right"}
    called = {
        caption: {
            label: (names[of_model.sets[name].predicted[0]], float(of_model.sets[name].confidence[0]))
            for label, of_model in answers.items()
        }
        for name, caption in captions.items()
    }
    title = f"Test image 0 of {some.about.data}, class {names[some.labels[0]]}: what each model calls it"
    shown = {
        caption: pixels(_moved(image, *by, some.about.boundary, some.about.shape[1:]))
        for caption, by in zip(captions.values(), ((0, 0), (5, 0)), strict=True)
    }
    return primitives.one_image(shown, called, title)


def in_gallery(metrics: Metrics) -> list[ImageRobustness]:
    """The images that `gallery` shows."""
    return [*metrics.nearest_failing_shifts[:SHOWN], *metrics.nearest_failing_shifts[: -SHOWN - 1 : -1]]


def gallery(metrics: Metrics, label: str, images: Tensor | Mapping[int, Tensor]) -> bytes:
    """The test images that are right at the fewest and at the most shifts, as PNG.

    Args:
        images: uint8 `(C, H, W)` by number, those of `in_gallery` at least.
    """
    about = metrics.metadata
    names = about.classes

    def shown(one: ImageRobustness) -> tuple[NDArray[np.uint8], str]:
        image = images[one.image]
        caption = f"#{one.image}, {names[one.label]}\n{one.accuracy:.1%} right"
        if one.nearest_failing_shift is None:
            return pixels(_moved(image, 0, 0, about.boundary, about.shape[1:])), f"{caption}\nnever breaks"
        dx, dy, called = astuple(one.nearest_failing_shift)
        return pixels(
            _moved(image, dx, dy, about.boundary, about.shape[1:])
        ), f"{caption}\n({dx}, {dy}): {names[called]}"

    rows = {
        "most fragile, at the nearest shift (dx, dy) that breaks each, and what it is called there": [
            shown(one) for one in metrics.nearest_failing_shifts[:SHOWN]
        ],
        "most robust": [shown(one) for one in metrics.nearest_failing_shifts[: -SHOWN - 1 : -1]],
    }
    return primitives.gallery(rows, f"{label}, boundary {boundary_name(about)}: test images classified right unshifted")


def _moved(image: Tensor, dx: int, dy: int, boundary: BoundaryName, frame: Frame) -> Tensor:
    return shift(image.unsqueeze(0), dx, dy, boundary, frame)[0]


def pixels(image: Tensor) -> NDArray[np.uint8]:
    """An image `(C, H, W)` as matplotlib shows it: `(H, W)`, or `(H, W, 3)`."""
    shown: NDArray[np.uint8] = image.permute(1, 2, 0).squeeze(2).numpy()
    return shown
