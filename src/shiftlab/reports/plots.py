"""Which plots are drawn of the metrics: of one model, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shiftlab.metrics.comparison import MetricsByKey, PredictionsByKey, boundaries, first_seed, of_boundary
from shiftlab.metrics.evaluation import Metrics, boundary_name
from shiftlab.metrics.intervals import Floats
from shiftlab.metrics.nearest_failing_shift import ImageRobustness
from shiftlab.reports import primitives
from shiftlab.reports.names import data_name, model_name
from shiftlab.reports.primitives import AXIS_LABELS, Line, Panel
from shiftlab.shifts import boundaries as boundary_modes
from shiftlab.shifts.grids import DIRECTIONS
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.transform import shift

if TYPE_CHECKING:  # the stage evaluate, which shows no image, does without paying for PyTorch's import
    from torch import Tensor

GALLERY_COLUMNS = 10  # images in each row of the gallery
MAX_LINES = 10  # classes in a panel; of more, the worst
RADII = {  # titles of the panels of metrics against the radius, by the metric's name there
    "accuracy": "accuracy, mean over the radius",
    "robust_accuracy": "robust accuracy: right at every shift within",
    "confidence": "mean confidence",
    "calibration_error": "expected calibration error",
}

Models = Mapping[str, Metrics]  # by label, in one boundary


def of_models(models: Models, subject: str = "") -> dict[str, bytes]:
    """Return all plots but confusion matrices, by name, as PNG; titles begin with the subject."""
    first = next(iter(models.values()))
    of_all = f"{subject and subject + ', '}{_data(first)}, {first.grid_images:,} images"
    of_grid = f"{subject and subject + ', '}{_extent(first)}"
    return {
        "accuracy": _curves(models, f"{of_all}: accuracy against shift (band: 95% Wilson interval)"),
        "maps": _maps(
            models,
            ("accuracy", "agreement", "agreement where right"),
            f"{of_grid}: accuracy, and agreement with the unshifted image",
        ),
        "sensitivity": _distances(models, of_grid),
        "radius": _radii(models, f"{of_grid}: against the Chebyshev radius (bands: 95%)"),
        "classes": _classes(models, f"{of_grid}: accuracy of each class"),
        "phase": primitives.phases(
            {label: metrics.phases for label, metrics in models.items()},
            f"{of_grid}: accuracy in % by stride phase, with 95% intervals",
        ),
        "fractions": _fractions(models, f"{of_all}: by parts of a pixel (band: 95% Wilson interval)"),
    }


def of_unlabelled(models: Models) -> dict[str, bytes]:
    """Return the plots that need no labels, by name, as PNG."""
    extent = _extent(next(iter(models.values())))
    return {
        "maps": _maps(models, ("agreement",), f"{extent}: agreement with the unshifted image"),
        "sensitivity": _distances(models, extent),
    }


def _data(metrics: Metrics) -> str:
    return f"{metrics.metadata.data}, boundary {boundary_name(metrics.metadata)}"


def _extent(metrics: Metrics) -> str:
    sample = "" if metrics.complete else f", {metrics.shifts} of the shifts, drawn"
    return f"{_data(metrics)}, {metrics.grid_images:,} images, radius {metrics.radius}{sample}"


def of_comparison(predictions: PredictionsByKey, metrics: MetricsByKey, images: Tensor) -> dict[str, bytes]:
    """Return every plot of the report by name, as PNG, of the first seed; test images are uint8 `(N, C, H, W)`."""
    plots: dict[str, bytes] = {}
    for boundary, name in boundaries(metrics).items():
        models = of_boundary(first_seed(metrics), boundary)
        title = f"boundary {name}: confusion matrices, as they are and 5 pixels to the right"
        kinds = {**of_models(models), "confusion": confusion(models, ("clean", "right5"), title)}
        kinds |= {f"gallery-{label}": gallery(of_model, label, images) for label, of_model in models.items()}
        plots |= {f"{name}-{kind}": plot for kind, plot in kinds.items()}
    of_first_seed = first_seed(predictions)
    _, _, first_boundary = next(iter(of_first_seed))
    plots["image-0"] = plot_example(of_boundary(of_first_seed, first_boundary), images[0])
    return plots


def against_shift(metrics: MetricsByKey, images: Tensor) -> bytes:
    """Plot each model's accuracy against the shift to the right in the first boundary, mean over seeds, as PNG."""
    first = next(iter(metrics.values()))
    curves: dict[str, list[list[float]]] = {}
    for (model, _, boundary), of_model in metrics.items():
        if boundary == first.metadata.boundary:
            to_the_right = [accuracy.value for step, accuracy in of_model.curves["x"] if step >= 0]
            curves.setdefault(model_name(model), []).append(to_the_right)
    means = {name: np.mean(of_seeds, axis=0) for name, of_seeds in curves.items()}
    title = f"Test images of {data_name(first.metadata.data)} classified right (%)"
    return primitives.against_shift(means, _cut_from(first, images), title)


def _cut_from(metrics: Metrics, images: Tensor) -> int | None:
    """Return the shift to the right from which on the edge cuts off more than `CUT_OFF` of the ink of all images."""
    if not boundary_modes.get(metrics.metadata.boundary).loses_content:
        return None
    columns = shift(images, 0, 0, "zero", metrics.metadata.shape[1:]).sum(dim=(0, 1, 2)).numpy()
    lost = columns[::-1].cumsum()[: metrics.radius] / columns.sum()  # by 1, 2... pixels
    beyond = np.flatnonzero(lost > primitives.CUT_OFF)
    return int(beyond[0]) + 1 if len(beyond) else None


def confusion(models: Models, sets: Sequence[str], title: str) -> bytes:
    """Plot each model's confusion matrices on named sets, as PNG."""
    classes = next(iter(models.values())).metadata.classes
    matrices = {label: {name: metrics.confusion_matrices[name] for name in sets} for label, metrics in models.items()}
    return primitives.confusions(matrices, classes, title)


def _curves(models: Models, title: str) -> bytes:
    first = next(iter(models.values()))
    steps = np.arange(-first.radius, first.radius + 1)
    above, below = [], []
    for direction, (right, down) in DIRECTIONS.items():
        lines = {label: Line.of(*zip(*metrics.curves[direction], strict=True)) for label, metrics in models.items()}
        above.append(Panel(lines, AXIS_LABELS[direction], "accuracy" if direction == "x" else ""))
        cells = first.radius + down * steps, first.radius + right * steps
        ink = Line(steps.tolist(), *(values[cells] for values in vars(first.maps["ink"]).values()))
        below.append(Panel({"ink": ink}, AXIS_LABELS[direction], "ink in the frame"))
    return primitives.panels([above, below], title, legend="lower center")


def _maps(models: Models, names: Sequence[str], title: str) -> bytes:
    """Plot shares over the grid: a row for each name and a column for each model, or one row of a single model."""
    rows, reach = _rows_and_reach(models, names)
    if len(models) == 1:
        (label,) = models
        rows = {label: {name: of_models[label] for name, of_models in rows.items()}}
    interval = f"(a cell's 95% Wilson interval reaches {100 * reach:.1f} points either way at most)"
    return primitives.maps(rows, f"{title} {interval}")


def _distances(models: Models, extent: str) -> bytes:
    """Plot distances over the grid: a row for each metric, with a scale of its own, and a column for each model."""
    rows, reach = _rows_and_reach(models, ("euclidean distance", "cosine distance"))
    interval = f"(a cell's 95% interval reaches {reach:.3f} either way at most)"
    return primitives.maps(rows, f"{extent}: how far probabilities move {interval}", limits=None)


def _rows_and_reach(models: Models, names: Sequence[str]) -> tuple[dict[str, dict[str, Floats]], float]:
    """Return maps by name and model, and half of the width of their widest interval."""
    rows = {name: {label: metrics.maps[name].value for label, metrics in models.items()} for name in names}
    return rows, max(metrics.maps[name].reach for name in names for metrics in models.values())


def _radii(models: Models, title: str) -> bytes:
    row = []
    for name, panel_title in RADII.items():
        lines = {
            label: Line.of([at.radius for at in metrics.radii], [getattr(at, name) for at in metrics.radii])
            for label, metrics in models.items()
        }
        row.append(Panel(lines, "radius (pixels)", "share", panel_title))
    return primitives.panels([row], title)


def _classes(models: Models, title: str) -> bytes:
    row = []
    for label, metrics in models.items():
        names, radii = primitives.class_labels(metrics.metadata.classes), [at.radius for at in metrics.radii]
        classes = _worst_classes(metrics)
        lines = {names[number]: Line.of(radii, [at.by_class[number] for at in metrics.radii]) for number in classes}
        row.append(Panel(lines, "radius (pixels)", "accuracy", label))
    more = len(next(iter(models.values())).radii[0].by_class) > MAX_LINES
    return primitives.panels([row], title + f" (the {MAX_LINES} with the lowest, on average)" * more, legends=more)


def _worst_classes(metrics: Metrics) -> list[int]:
    """Return the classes that have images, in their order where they are few, else those of lowest mean accuracy."""
    numbers = list(metrics.radii[0].by_class)
    if len(numbers) <= MAX_LINES:
        return numbers
    return sorted(numbers, key=lambda number: sum(at.by_class[number].value for at in metrics.radii))[:MAX_LINES]


def _fractions(models: Models, title: str) -> bytes:
    lines = {label: Line.of(*zip(*metrics.fractions, strict=True)) for label, metrics in models.items()}
    return primitives.panels([[Panel(lines, AXIS_LABELS["x"], "accuracy", y_limits=None)]], title)


def plot_example(models: Mapping[str, Predictions], image: Tensor) -> bytes:
    """Plot test image 0, `(C, H, W)`, as it is and moved 5 pixels to the right, with each model's predictions."""
    first = next(iter(models.values()))
    classes = primitives.class_labels(first.metadata.classes)
    plots, predictions = {}, {}
    for name, dx, caption in (("clean", 0, "as it is"), ("right5", 5, "5 pixels to the right")):
        plots[caption] = _shifted(image, dx, 0, first.metadata)
        of_set = {label: of_model.sets[name] for label, of_model in models.items()}
        predictions[caption] = {
            label: (classes[at.predicted[0]], float(at.confidence[0])) for label, at in of_set.items()
        }
    title = f"Test image 0 of {first.metadata.data}, class {classes[first.labels[0]]}: what each model calls it"
    return primitives.one_image(plots, predictions, title)


def gallery_rows(metrics: Metrics) -> dict[str, list[ImageRobustness]]:
    """Return the images that `gallery` shows, in named rows."""
    fragile = "most fragile, at the nearest shift (dx, dy) that breaks each, and what it is called there"
    most_fragile_first = metrics.nearest_failing_shifts
    return {
        fragile: most_fragile_first[:GALLERY_COLUMNS],
        "most robust": most_fragile_first[: -GALLERY_COLUMNS - 1 : -1],
    }


def gallery(metrics: Metrics, label: str, images: Tensor | Mapping[int, Tensor]) -> bytes:
    """Plot the test images of `gallery_rows`, which `images` has by number, uint8 `(C, H, W)`, as PNG."""
    classes = primitives.class_labels(metrics.metadata.classes)

    def cell(robustness: ImageRobustness) -> tuple[NDArray[np.uint8], str]:
        caption = f"#{robustness.image}, {classes[robustness.label]}\n{robustness.accuracy:.1%} right"
        failing = robustness.nearest_failing_shift
        dx, dy = (failing.dx, failing.dy) if failing else (0, 0)
        below = f"({dx}, {dy}): {classes[failing.predicted]}" if failing else "never breaks"
        return _shifted(images[robustness.image], dx, dy, metrics.metadata), f"{caption}\n{below}"

    rows = {name: [cell(robustness) for robustness in row] for name, row in gallery_rows(metrics).items()}
    name = boundary_name(metrics.metadata)
    return primitives.gallery(rows, f"{label}, boundary {name}: test images classified right unshifted")


def _shifted(image: Tensor, dx: int, dy: int, metadata: PredictionMetadata) -> NDArray[np.uint8]:
    return pixels(shift(image.unsqueeze(0), dx, dy, metadata.boundary, metadata.shape[1:])[0])


def pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return an image `(C, H, W)` as matplotlib shows it: `(H, W)`, or `(H, W, 3)`."""
    array: NDArray[np.uint8] = image.permute(1, 2, 0).squeeze(2).numpy()
    return array
