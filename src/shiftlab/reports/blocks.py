"""The blocks that pages, Markdown files and terminals are put together from: tables, plots with captions, templates."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

# Colours of verdicts that people who see no red and green tell apart (Okabe and Ito 2008): of contrasts, of claims.
CONTRAST_COLOURS = {
    "supported": "#009e73",
    "contradicted": "#d55e00",
    "no effect worth a point": "#0072b2",
    "undecided": "#7f7f7f",
    "secondary": "#b8b8b8",
}
COLOURS = {**CONTRAST_COLOURS, "depends": "#cc79a7"}

# What each plot shows, for those who read it or hear it read: by its kind, the word after the boundary in its name.
CAPTIONS = {
    "accuracy": "Accuracy on all test images against the shift along x, along y and along the diagonal; below, the "
    "share of ink (raw intensity) still in the frame.",
    "maps": "At every shift that was measured: accuracy, and agreement with the prediction for the unshifted image, of "
    "all images and of those right unshifted. One colour scale, 0 to 1. Agreement alone can mislead: a network that is "
    "always wrong alike agrees with itself.",
    "sensitivity": "How far the class probabilities lie from those of the unshifted image, mean over images. Each row "
    "has a colour scale of its own.",
    "radius": "Mean accuracy at each Chebyshev radius, the share of images right at every shift within it, mean "
    "confidence, and expected calibration error: a model whose accuracy falls while its confidence stays is wrong and "
    "sure.",
    "classes": "Accuracy of each class at each radius; of many, the worst.",
    "phase": "Accuracy in % by the shift's remainder after division by the period, each table on a colour scale of its "
    "own: stripes are aliasing, by layers whose strides multiply to that period.",
    "fractions": "Accuracy under shifts by parts of a pixel to the right. Between whole pixels the image is blurred "
    "(bilinear).",
    "confusion": "Confusion matrices: rows actual classes, columns predicted ones, in counts, shaded by the share of "
    "the row.",
    "gallery": "Of the images classified right unshifted, those that are right at the fewest and at the most shifts; "
    "each at the nearest shift at which it is wrong, and what it is called there.",
    "image-0": "Test image 0, as it is and 5 pixels to the right, with the class each model gives it and its "
    "probability.",
    "effects": "Every contrast of every claim on one axis. A contrast whose interval lies within the grey band has no "
    "effect worth a point. Hollow: secondary contrasts, which decide nothing.",
    "curves": "Accuracy against the distance that images are moved along an axis, a panel for each component, of the "
    "variants that differ in nothing else. Beyond some 4 pixels, moving also loses ink.",
    "plane": "Every variant on images as they are, in the plane of accuracy unshifted and consistency under circular "
    "shifts. The colour is the cost of a forward pass.",
}


@dataclass(frozen=True)
class Table:
    """A table of text, in which **bold** is Markdown's: for Markdown, for terminals, and for the macro `table`."""

    header: Sequence[str]  # a line break within a name is one in a terminal alone
    rows: Sequence[Sequence[str]]
    note: str = ""  # what its numbers are

    def markdown(self) -> str:
        """Return the table as Markdown, with its note below."""
        lines = [[head.replace("\n", " ") for head in self.header], ["---"] * len(self.header), *self.rows]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + (f"\n{self.note}\n" if self.note else "")

    def text(self) -> str:
        """Return the table without its note as text, in aligned columns that two spaces part."""
        heads = [head.split("\n") for head in self.header]
        height = max(map(len, heads))
        above = [[*[""] * (height - len(head)), *head] for head in heads]
        lines = [*zip(*above, strict=True), *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "".join("  ".join(map(str.ljust, cells, widths)).rstrip() + "\n" for cells in lines)


class Plot(NamedTuple):
    """A plot in a page."""

    address: str  # that holds the PNG
    caption: str


def embed(plots: Mapping[str, bytes]) -> dict[str, Plot]:
    """Return plots, PNG by name as "zero-maps" or "effects", with the captions of their kinds."""
    return {name: Plot(address(png), _caption(name)) for name, png in plots.items()}


def address(png: bytes) -> str:
    """Return an address that holds a PNG."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _caption(name: str) -> str:
    """Return what a plot shows, and of which model: names are "zero-maps", "zero-gallery-lenet" and "effects"."""
    if name in CAPTIONS:
        return CAPTIONS[name]
    _, kind, *model = name.split("-", 2)
    return f"{model[0]}: {CAPTIONS[kind]}" if model else CAPTIONS[kind]


def render(template: str, **content: Any) -> str:
    """Return a page: a template of this folder, which extends base.html, as one HTML file that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("shiftlab.reports", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markup"] = markup
    return environment.get_template(template).render(content)


def markup(text: str) -> Markup:
    """Return Markdown's `code` and **bold** as HTML; a bold verdict has a dot of its colour."""

    def strong(match: re.Match[str]) -> str:
        colour = COLOURS.get(match[1])
        dot = f'<i class="dot" style="background: {colour}"></i> ' if colour else ""
        return f"{dot}<strong>{match[1]}</strong>"

    html = re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", strong, html))
