"""The blocks that pages, Markdown files and terminals are put together from: tables, plots and templates."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def embed(plots: Mapping[str, bytes]) -> dict[str, str]:
    """Return the addresses of plots, PNG by name; the macro `figure` has the captions."""
    return {name: address(png) for name, png in plots.items()}


def address(png: bytes) -> str:
    """Return an address that holds a PNG."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


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
