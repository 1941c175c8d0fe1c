"""The blocks that pages, Markdown files and terminals are put together from: tables, plots, sentences and templates."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from shiftlab.reports import numbers

# Colours of verdicts that people who see no red and green tell apart (Okabe and Ito 2008): of contrasts, of claims.
CONTRAST_COLOURS = {
    "supported": "#009e73",
    "contradicted": "#d55e00",
    "no effect worth a point": "#0072b2",
    "undecided": "#7f7f7f",
    "secondary": "#b8b8b8",
}
COLOURS = {**CONTRAST_COLOURS, "depends": "#cc79a7"}

# Of classes on a map, where there are few: ten colours that colour-blind eyes tell apart, by Paul Tol (2021).
CLASS_COLOURS = [
    *("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#bbbbbb"),
]

Plots = Mapping[str, bytes]  # PNG by name


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


def address(png: bytes) -> str:
    """Return a data URL that holds a PNG."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


def embed(plots: Plots) -> dict[str, str]:
    """Return the data URLs of plots; the macro `figure` has their captions."""
    return {name: address(png) for name, png in plots.items()}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("shiftlab.reports", "."),
        autoescape=select_autoescape(),  # of HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = (numbers.p_value, numbers.percent, numbers.share, numbers.with_commas, numbers.with_interval, markup)
    environment.filters |= {function.__name__: function for function in formats}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def render(template: str, **content: Any) -> str:
    """Return a template of this folder, filled in; a page extends base.html, and is one file on its own."""
    return _environment().get_template(template).render(content)


def fill_macro(template: str, macro: str, **content: Any) -> str:
    """Return what a macro of a template of this folder gives for its arguments."""
    return str(getattr(_environment().get_template(template).module, macro)(**content))


def sentences(macro: str, **content: Any) -> list[str]:
    """Return what a macro of sentences.jinja gives, as a list of sentences."""
    text = fill_macro("sentences.jinja", macro, **content)
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def paragraph(macro: str, **content: Any) -> str:
    """Return the same as one paragraph."""
    return " ".join(sentences(macro, **content))


def read_text(name: str) -> str:
    """Return the content of a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def load_yaml(name: str) -> Any:
    """Return the content of a YAML file of this folder."""
    from ruamel.yaml import YAML  # of the pipeline alone: an audit reads no YAML

    return YAML(typ="safe").load(read_text(name))


def markup(text: str) -> Markup:
    """Return Markdown's `code` and **bold** as HTML; a bold verdict has a dot of its colour."""

    def strong(match: re.Match[str]) -> str:
        colour = COLOURS.get(match[1])
        dot = f'<i class="dot" style="background: {colour}"></i> ' if colour else ""
        return f"{dot}<strong>{match[1]}</strong>"

    html = re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", strong, html))
