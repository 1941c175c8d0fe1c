"""Primitives of plots, and the only importer of matplotlib. Each function draws one figure and returns it as PNG."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from shiftlab.metrics.intervals import Estimate, Estimates, Floats

AXIS_LABELS = {
    "x": "shift to the right (pixels)",
    "y": "shift down (pixels)",
    "diagonal": "shift to the lower right (pixels along each axis)",
}

# Colours that colour-blind people tell apart (Okabe and Ito 2008); their purple darker, to stand out from white.
COLOURS = ("#D55E00", "#AA4499", "#0072B2", "#009E73", "#000000", "#E69F00", "#56B4E9")

DOTS_PER_INCH = 110
SMALL_DOTS_PER_INCH = 160  # of a picture that is shown small
CUT_OFF = 0.05  # share of the ink beyond the edge from which it counts
MAX_NAMES = 30  # classes in a confusion matrix whose cells have room for numbers
MAX_LETTERS = 14  # of a class's name
LETTERS_PER_INCH = 10  # of a figure's title

# A number inside a cell. The layout, which would measure each, makes room for what is around the axes.
IN_CELL: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}


class Line(NamedTuple):
    """Points of one line, left to right, with an interval for each."""

    x: Sequence[float]
    y: Sequence[float] | Floats
    low: Sequence[float] | Floats
    high: Sequence[float] | Floats

    @classmethod
    def of(cls, x: Sequence[float], estimates: Sequence[Estimate]) -> "Line":
        """Return a line of estimates with their intervals."""
        return cls(x, *([getattr(estimate, end) for estimate in estimates] for end in ("value", "low", "high")))


class Panel(NamedTuple):
    """What one pair of axes shows: labels -> lines."""

    lines: Mapping[str, Line]
    x_label: str
    y_label: str
    title: str = ""
    y_limits: tuple[float, float] | None = (0, 1.02)


def class_labels(names: Sequence[str]) -> list[str]:
    """Return classes' names as plots show them, all different: long ones without their middle.

    A class is shown by its number, its place among `names`, where the font can't draw its name, as of scripts that it
    lacks or that run to the left, or where its short name is another's.
    """
    glyphs = get_font(findfont(FontProperties())).get_charmap()
    labels = []
    for number, name in enumerate(names):
        drawable = all(
            ord(letter) in glyphs and unicodedata.bidirectional(letter) not in ("R", "AL") for letter in name
        )
        short = name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS // 2]}…{name[1 - MAX_LETTERS // 2 :]}"
        # Legends leave out what begins with an underscore.
        labels.append((f" {short}" if short.startswith("_") else short) if drawable else f"class {number}")
    counts = Counter(labels)
    return [label if counts[label] == 1 else f"class {number}" for number, label in enumerate(labels)]


def panels(rows: Sequence[Sequence[Panel]], title: str, legend: str = "best", legends: bool = False) -> bytes:
    """Plot panels in rows; those of a row share the vertical axis, those of a column the horizontal one.

    Args:
        rows: of equal length, but for the last, which may be shorter.
        legend: where in a panel it goes.
        legends: does each panel have one of its own? Then all are equally high, else the first row is higher.
    """
    columns = len(rows[0])
    heights = [3.4] + [3.4 if legends else 2.0] * (len(rows) - 1)
    figure = Figure(figsize=(max(4.4 * columns, 8), sum(heights) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), columns, sharex="col", sharey="row", squeeze=False, height_ratios=heights)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, row, strict=False):
            _draw(axes, panel)
            axes.label_outer()
            if len(panel.lines) > 1 and (legends or axes is grid[0, 0]):
                axes.legend(loc=legend, fontsize=8)
    for last, above in zip(grid[-1, len(rows[-1]) :], grid[-2:, len(rows[-1]) :][0], strict=True):
        last.set_axis_off()
        above.tick_params(labelbottom=True)
    return _png(figure, title)


def against_shift(curves: Mapping[str, Floats], cut_from: int | None, title: str) -> bytes:
    """Plot accuracy against the shift to the right, a line for each model; readable when 390 pixels wide.

    Args:
        curves: model's name -> accuracy at 0, 1, 2... pixels.
        cut_from: the shift from which on the edge cuts off more than `CUT_OFF` of the ink; those are shaded.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    last = max(map(len, curves.values())) - 1
    for (name, values), colour, marker in zip(curves.items(), cycle(COLOURS), cycle("os^vDP*"), strict=False):
        axes.plot(100 * values, color=colour, marker=marker, markevery=2, markersize=5, linewidth=2.2, label=name)
    if cut_from is not None and cut_from < last:
        axes.axvspan(cut_from, last, color="0.9", linewidth=0, label=f"more than {CUT_OFF:.0%}\nof the ink cut off")
    axes.set(xlim=(0, last), ylim=(0, 103))
    axes.set_xlabel(AXIS_LABELS["x"], fontsize=11)
    axes.set_title(title, fontsize=11, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9.5)
    return _png(figure, "", SMALL_DOTS_PER_INCH)


def _draw(axes: Axes, panel: Panel) -> None:
    for label, line in panel.lines.items():
        (curve,) = axes.plot(line.x, line.y, marker=".", label=label)
        axes.fill_between(line.x, line.low, line.high, alpha=0.25, color=curve.get_color())
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
    if panel.y_limits:
        axes.set_ylim(*panel.y_limits)
    axes.grid(alpha=0.3)


def maps(rows: Mapping[str, Mapping[str, Floats]], title: str, limits: tuple[float, float] | None = (0, 1)) -> bytes:
    """Plot maps over the grid side by side, a row for each metric and a column for each model.

    Args:
        rows: metric's name -> model's label -> `(D, D)`; nan stays white.
        limits: of the colour scale that all share; none gives each row its own, from 0 to its maximum.
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(3.3 * columns + 1.2, 3.3 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    for axes_row, (name, of_models) in zip(grid, rows.items(), strict=True):
        low, high = limits or (0, max(float(np.nanmax(values)) for values in of_models.values()))
        for axes, (label, values) in zip(axes_row, of_models.items(), strict=True):
            reach = len(values) / 2
            image = axes.imshow(values, vmin=low, vmax=high, cmap="viridis", extent=(-reach, reach, reach, -reach))
            axes.set(title=f"{label}: {name}", xlabel="dx, right (pixels)", ylabel="dy, down (pixels)")
            axes.label_outer()
        if limits is None:
            figure.colorbar(image, ax=list(axes_row), shrink=0.9)
    if limits:
        figure.colorbar(image, ax=list(grid.ravel()), shrink=0.9 / len(rows) + 0.1)
    return _png(figure, title)


def phases(tables: Mapping[str, Estimates], title: str) -> bytes:
    """Plot accuracy by stride phase, a table for each model, each on a colour scale of its own, which its bar tells.

    Args:
        tables: model's label -> `(period, period)`: row dy, column dx.
    """
    figure = Figure(figsize=(3.9 * len(tables), 3.6), layout="constrained")
    for axes, (label, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        image = axes.imshow(table.value, cmap="viridis")
        middle = (np.nanmax(table.value) + np.nanmin(table.value)) / 2
        for place, value in np.ndenumerate(table.value):
            if np.isnan(value):
                continue
            low, high = 100 * table.low[place], 100 * table.high[place]
            colour = "white" if value < middle else "black"
            axes.text(*place[::-1], f"{100 * value:.1f}\n{low:.1f}-{high:.1f}", **IN_CELL, color=colour, fontsize=7)
        ticks = range(len(table.value))
        axes.set(xticks=ticks, yticks=ticks, xlabel=f"dx mod {len(ticks)}", ylabel=f"dy mod {len(ticks)}", title=label)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return _png(figure, title)


def confusions(matrices: Mapping[str, Mapping[str, NDArray[np.int64]]], classes: Sequence[str], title: str) -> bytes:
    """Plot confusion matrices `(K, K)` of counts, rows actual, columns predicted classes, shaded by the row's share.

    Where classes are many, cells have no numbers and axes no names.

    Args:
        matrices: row's name -> column's name -> matrix.
        classes: their names.
    """
    columns = max(map(len, matrices.values()))
    few = len(classes) <= MAX_NAMES
    side = max(5.2, 0.4 * len(classes)) if few else 7.0  # inches
    figure = Figure(figsize=((side + 0.2) * columns + 0.9, side * len(matrices) + 0.4), layout="constrained")
    grid = figure.subplots(len(matrices), columns, squeeze=False)
    ticks, names = (range(len(classes)), class_labels(classes)) if few else ([], [])
    upright = max(map(len, names), default=0) <= 2
    titled = [(f"{row}, {name}", matrix) for row, of_row in matrices.items() for name, matrix in of_row.items()]
    for axes, (panel_title, matrix) in zip(grid.flat, titled, strict=True):
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (actual, predicted), count in np.ndenumerate(matrix):
            if count and few:
                colour = "white" if share[actual, predicted] > 0.5 else "black"
                axes.text(predicted, actual, str(count), **IN_CELL, color=colour, fontsize=8)
        axes.set(xlabel="predicted class", ylabel="actual class", title=panel_title)
        axes.set_xticks(ticks, names, rotation=0 if upright else 90)
        axes.set_yticks(ticks, names)
    figure.colorbar(image, ax=list(grid.ravel()), label="share of the actual class's images", shrink=0.7)
    return _png(figure, title)


def gallery(rows: Mapping[str, Sequence[tuple[NDArray[np.uint8], str]]], title: str) -> bytes:
    """Plot images, `(H, W)` or `(H, W, 3)`, with captions, in named rows."""
    columns = max(1, *map(len, rows.values()))  # there may be nothing to show
    figure = Figure(figsize=(1.4 * columns, 2.25 * len(rows) + 0.4), layout="constrained")
    strips = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for strip, (name, entries) in zip(strips, rows.items(), strict=True):
        strip.suptitle(name, x=0.01, ha="left", fontsize=10)
        axes_row = strip.subplots(1, columns, squeeze=False)[0]
        for axes in axes_row[len(entries) :]:
            axes.set_axis_off()
        for axes, (image, caption) in zip(axes_row, entries, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(caption, fontsize=8)
    return _png(figure, title)


def one_image(
    pictures: Mapping[str, NDArray[np.uint8]], predictions: Mapping[str, Mapping[str, tuple[str, float]]], title: str
) -> bytes:
    """Plot versions of one test image, each above what every model calls it and with what probability.

    Args:
        pictures: caption -> raw image, `(H, W)` or `(H, W, 3)`.
        predictions: the same caption -> model's label -> (class, probability).
    """
    labels = [label for by_model in predictions.values() for label in by_model]
    figure = Figure(figsize=(3.6 * len(pictures), 4.1 + 0.2 * len(labels) / len(pictures)), layout="constrained")
    axes_row = figure.subplots(1, len(pictures), squeeze=False)[0]
    width = max(map(len, labels))
    for axes, (caption, image) in zip(axes_row, pictures.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set(title=caption)
        longest = max(len(name) for name, _ in predictions[caption].values())
        of_models = predictions[caption].items()
        lines = [f"{label:<{width}}  {name:<{longest}}  p = {p:.4f}" for label, (name, p) in of_models]
        axes.set_xlabel("\n".join(lines), fontsize=11, family="monospace")
    return _png(figure, title)


class ForestRow(NamedTuple):
    """A row of a forest plot: a difference in percentage points, with its interval."""

    label: str
    difference: float
    low: float
    high: float
    kind: str  # what its colour tells
    hollow: bool = False


def forest(groups: Mapping[str, Sequence[ForestRow]], colours: Mapping[str, str], within: float, title: str) -> bytes:
    """Plot effects below one another on one axis, in named groups.

    Args:
        colours: of every kind of effect; the legend has them in this order.
        within: points either way that are shaded, as too few to matter.
    """
    count = sum(map(len, groups.values()))
    figure = Figure(figsize=(11, 0.27 * (count + 1.3 * len(groups)) + 1.6), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-within, within, color="0.9", zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.8)
    place, ticks = 0.0, {}
    for group, rows in groups.items():
        place += 1.3
        ticks[place - 0.15] = group
        for row in rows:
            place += 1
            ticks[place] = row.label
            ends = [[row.difference - row.low], [row.high - row.difference]]
            colour = colours[row.kind]
            mark: dict[str, Any] = {"fmt": "o", "markersize": 4, "mfc": "white" if row.hollow else colour}
            axes.errorbar(row.difference, place, xerr=ends, capsize=2, color=colour, **mark)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    for label in axes.get_yticklabels():
        if label.get_text() in groups:
            label.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="difference (percentage points)", ylim=(place + 1, 0))
    axes.grid(axis="x", alpha=0.3)
    kinds = {row.kind for rows in groups.values() for row in rows}
    handles = [Line2D([], [], color=colours[kind], marker="o", label=kind) for kind in colours if kind in kinds]
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=len(handles))
    return _png(figure, title)


class Point(NamedTuple):
    """A point of a scatter plot, with intervals along both axes."""

    label: str
    x: tuple[float, float, float]  # value, low, high
    y: tuple[float, float, float]
    size: float  # what its colour tells


def scatter(points: Sequence[Point], x_label: str, y_label: str, size_label: str, title: str) -> bytes:
    """Plot named points in a plane, coloured by a size on a logarithmic scale, with their names at the right."""
    figure = Figure(figsize=(11, max(6.0, 0.26 * len(points) + 1.5)), layout="constrained")
    axes = figure.subplots()
    for point in points:
        (x, *x_ends), (y, *y_ends) = point.x, point.y
        axes.plot(x_ends, [y, y], color="0.8", linewidth=0.8, zorder=1)
        axes.plot([x, x], y_ends, color="0.8", linewidth=0.8, zorder=1)
    across, up = [point.x[0] for point in points], [point.y[0] for point in points]
    marks = axes.scatter(across, up, c=[point.size for point in points], norm="log", cmap="viridis", s=36, zorder=3)
    axes.set(xlim=_around(across), ylim=_around(up))  # intervals may reach far beyond
    heights = np.linspace(0.01, 0.99, len(points))
    arrow = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkB": 3, "relpos": (0, 0.5)}
    beside: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "annotation_clip": False}
    for height, point in zip(heights, sorted(points, key=lambda point: (point.y[0], point.x[0])), strict=True):
        place = point.x[0], point.y[0]
        axes.annotate(point.label, place, (1.03, height), fontsize=8, arrowprops=arrow, **beside)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    figure.colorbar(marks, label=size_label, shrink=0.6, location="bottom")
    return _png(figure, title)


def _around(values: Sequence[float]) -> tuple[float, float]:
    room = 0.05 * (max(values) - min(values) or 1)
    return min(values) - room, max(values) + room


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image, `(H, W)` or in colour `(H, W, 3)`, as PNG, pixel for pixel."""
    return _encode(Image.fromarray(pixels))


def _png(figure: Figure, title: str, dots: int = DOTS_PER_INCH) -> bytes:
    """Return the figure as PNG in 256 colours, which the eye does not tell from all of them: a third of the bytes."""
    if title:
        figure.suptitle(fill(title, width=int(figure.get_figwidth() * LETTERS_PER_INCH)))
    figure.set_dpi(dots)
    canvas = FigureCanvasAgg(figure)
    with rc_context({"text.parse_math": False}):  # a name may have dollars
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        # The canvas itself, since Figure.savefig draws a constrained layout twice.
        canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    return _encode(pixels.quantize(256, dither=Image.Dither.NONE))


def _encode(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
