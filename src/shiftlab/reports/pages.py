"""What all pages share: their templates, and words for numbers. Each page is one HTML file that needs nothing else."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup, escape


def template(name: str) -> Template:
    """A file of this folder, which extends `base.html`."""
    environment = Environment(
        loader=PackageLoader("shiftlab.reports", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"probability": probability, "bold": _bold}
    return environment.get_template(name)


def inline(pictures: Mapping[str, bytes]) -> dict[str, str]:
    """PNG by name, as addresses that hold them."""
    return {name: f"data:image/png;base64,{b64encode(png).decode()}" for name, png in pictures.items()}


def probability(p: float) -> str:
    """A p-value as people write it."""
    if p < 1e-300:
        return "p < 1e-300"
    return f"p = {p:.2g}" if p < 0.001 else f"p = {p:.3f}"


def both_intervals(mean: float, by_seeds: float, by_images: float, digits: int = 2) -> str:
    """A mean over seeds with half of its intervals over seeds and over images, the wider in bold (Markdown)."""
    seeds, images = f"s ±{by_seeds:.{digits}f}", f"i ±{by_images:.{digits}f}"
    marked = f"**{seeds}**, {images}" if by_seeds > by_images else f"{seeds}, **{images}**"
    return f"{mean:.{digits}f} ({marked})"


def enumerated(parts: Iterable[str]) -> str:
    """One, two and three."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


def _bold(text: str) -> Markup:
    """Markdown's bold as HTML's."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))
