"""Every picture, and the only importer of matplotlib. Each function draws one figure and returns it as PNG bytes."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from shiftlab.robustness import CLASSES, Accuracy

Curve = Sequence[tuple[int, Accuracy]]  # (step in pixels, accuracy there)

AXIS_LABELS = {
    "x": "shift to the right (pixels)",
    "y": "shift down (pixels)",
    "diagonal": "shift to the lower right (pixels along each axis)",
}


def curves(by_direction: Mapping[str, Mapping[str, Curve]], data: str) -> bytes:
    """Accuracy against shift, a panel for each direction, a line with its interval for each model.

    Args:
        by_direction: direction -> model's label -> curve.
        data: name of the data set, for the title.
    """
    figure = Figure(figsize=(4.6 * len(by_direction), 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(by_direction), sharey=True, squeeze=False)[0])
    images = 0
    for axes, (direction, models) in zip(panels, by_direction.items(), strict=True):
        for label, curve in models.items():
            steps = [step for step, _ in curve]
            axes.plot(steps, [point.accuracy for _, point in curve], marker=".", label=label)
            axes.fill_between(steps, [point.low for _, point in curve], [point.high for _, point in curve], alpha=0.25)
            images = curve[0][1].images
        axes.set_xlabel(AXIS_LABELS[direction])
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy")
    panels[0].set_ylim(0, 1.02)
    panels[0].legend(loc="lower center")
    figure.suptitle(
        f"Accuracy on shifted {data} test images (n = {images:,}; vacated pixels black; band: 95% Wilson interval)"
    )
    return _png(figure)


def confusion(matrix: NDArray[np.int64], title: str) -> bytes:
    """A confusion matrix `(10, 10)` of counts: rows actual, columns predicted, shaded by the row's share."""
    figure = Figure(figsize=(6.4, 5.8), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xticks=CLASSES, yticks=CLASSES, xlabel="predicted digit", ylabel="actual digit", title=title)
    figure.colorbar(image, label="share of the actual digit's images")
    return _png(figure)


def one_image(
    pictures: Mapping[str, NDArray[np.uint8]],
    answers: Mapping[str, Mapping[str, tuple[int, float]]],
    title: str,
) -> bytes:
    """Versions of one test image, each above what every model calls it and with what probability.

    Args:
        pictures: caption -> raw image `(H, W)`.
        answers: the same caption -> model's label -> (digit, probability).
    """
    labels = [label for by_model in answers.values() for label in by_model]
    figure = Figure(figsize=(3.6 * len(pictures), 4.1 + 0.2 * len(labels) / len(pictures)), layout="constrained")
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    width = max(map(len, labels))
    for axes, (caption, image) in zip(panels, pictures.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[0, 7, 14, 21], yticks=[0, 7, 14, 21], title=caption)
        lines = [f"{label:<{width}}  {digit}  p = {p:.4f}" for label, (digit, p) in answers[caption].items()]
        axes.set_xlabel("\n".join(lines), fontsize=11, family="monospace")
    figure.suptitle(title)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
