"""The comparison as people read it: tables in Markdown, and the report, one HTML file that needs nothing else.

Everything here takes the comparison stage's summary, the content of metrics/comparison.json.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

SUMMARY = {
    "grid": "accuracy over the grid",
    "consistency": "consistency",
    "agreement": "agreement with unshifted",
    "worst_case": "worst case within {} px",
    "euclidean": "sensitivity (L2)",
    "cosine": "sensitivity (cosine)",
}
SIGNIFICANT = 0.05

Summary = Mapping[str, Any]


def tables(summary: Summary) -> str:
    """The figures of every model as two tables in Markdown, each with the sentence that says what its numbers are."""
    regimes = list(dict.fromkeys(entry["regime"] for entry in summary["models"]))
    first = regimes[0]
    names = [name for name in summary["models"][0]["figures"] if name not in SUMMARY]
    lines = ["| model | seed | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for entry in summary["models"]:
        if entry["regime"] == first:
            cells = [percent(entry["figures"][name]) for name in names]
            lines.append(f"| {entry['model']} | {entry['seed']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Accuracy in % on the {summary['images']:,} test images of **{summary['data']}**, with 95% Wilson intervals. "
        f"{regime_in_words(first, summary)}",
        "",
        "| regime | model | seed | " + " | ".join(columns(summary).values()) + " | parameters | multiply-adds |",
        "|---|---|---|" + "---|" * (len(SUMMARY) + 2),
    ]
    for entry in summary["models"]:
        figures = entry["figures"]
        cells = [percent(figures[name]) for name in list(SUMMARY)[:4]]
        cells += [plain(figures[name]) for name in list(SUMMARY)[4:]]
        cost = f"{entry['parameters']:,} | {entry['multiply_adds']:,}"
        lines.append(f"| {entry['regime']} | {entry['model']} | {entry['seed']} | {' | '.join(cells)} | {cost} |")
    lines += ["", grid_in_words(summary)]
    return "\n".join(lines) + "\n"


def columns(summary: Summary) -> dict[str, str]:
    """The summary figures' names, and the words that stand over their columns."""
    return {name: words.format(summary["worst_case_within"]) for name, words in SUMMARY.items()}


def regime_in_words(regime: str, summary: Summary) -> str:
    """What happens at the edge."""
    if regime == "circular":
        return "Regime `circular`: content wraps round, nothing is lost."
    if regime == "canvas":
        return (
            f"Regime `canvas`: the digits move on a black canvas of {summary['size']}x{summary['size']} pixels, "
            "vacated pixels black."
        )
    return "Regime `zero`: same frame, vacated pixels black, ink past the edge lost."


def grid_in_words(summary: Summary) -> str:
    """What the figures of the grid are taken over."""
    radius = summary["radius"]
    return (
        f"Over all {(2 * radius + 1) ** 2:,} integer shifts of up to {radius} pixels along each axis, on "
        f"{summary['grid_images']:,} test images, with 95% intervals: Wilson's for the worst case, else from a "
        "bootstrap over images. Shares in %."
    )


def percent(one: Mapping[str, float]) -> str:
    """An estimate in 0..1 and its interval, in %."""
    return f"{100 * one['value']:.2f} [{100 * one['low']:.2f}, {100 * one['high']:.2f}]"


def plain(one: Mapping[str, float]) -> str:
    """An estimate and its interval."""
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def probability(p: float) -> str:
    """A p-value as people write it."""
    if p < 1e-300:
        return "p < 1e-300"
    return f"p = {p:.2g}" if p < 0.001 else f"p = {p:.3f}"


def answer(summary: Summary) -> list[str]:
    """The question's answer in sentences, made from the numbers of the first seed."""
    first_seed = summary["models"][0]["seed"]
    regimes = list(dict.fromkeys(entry["regime"] for entry in summary["models"]))
    sentences = []
    for regime in regimes:
        entries = [one for one in summary["models"] if one["regime"] == regime and one["seed"] == first_seed]
        figures = {one["model"]: {name: value["value"] for name, value in one["figures"].items()} for one in entries}
        sentences.append(_moved(regime, figures, summary))
        if len(figures) > 1:
            sentences.append(_ahead(figures, summary["differences"][regime]))
        sentences.append(_over_grid(figures, summary))
    return sentences


def _moved(regime: str, figures: Mapping[str, Mapping[str, float]], summary: Summary) -> str:
    ranked = sorted(figures, key=lambda model: -figures[model]["right5"])
    shifted = _enumerate(f"{model} {100 * figures[model]['right5']:.1f}%" for model in ranked)
    clean = _enumerate(f"{model} {100 * figures[model]['clean']:.1f}%" for model in ranked)
    return (
        f"In regime {regime}, with every one of the {summary['images']:,} test images of {summary['data']} moved 5 "
        f"pixels to the right, the share classified right is: {shifted}. Unmoved it is: {clean}."
    )


def _ahead(figures: Mapping[str, Mapping[str, float]], differences: list[Mapping[str, Any]]) -> str:
    best, second, *_ = sorted(figures, key=lambda model: -figures[model]["right5"])
    (tested,) = (
        one
        for one in differences
        if one["evaluation_set"] == "right5" and {one["first"], one["second"]} == {best, second}
    )
    verdict = "significant" if tested["corrected"] < SIGNIFICANT else "not significant"
    return (
        f"The most robust to this shift is {best}, ahead of {second} by {100 * abs(tested['by']):.1f} percentage "
        f"points. The difference is {verdict} (McNemar's exact test, {probability(tested['corrected'])} after Holm's "
        "correction)."
    )


def _over_grid(figures: Mapping[str, Mapping[str, float]], summary: Summary) -> str:
    ranked = sorted(figures, key=lambda model: -figures[model]["grid"])
    parts = _enumerate(
        f"{model} {100 * figures[model]['grid']:.1f}% right and {100 * figures[model]['consistency']:.1f}% consistent"
        for model in ranked
    )
    return f"Over all shifts of up to {summary['radius']} pixels: {parts}."


def _enumerate(parts: Any) -> str:
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


class Published(NamedTuple):
    """A published figure that PROTOCOL.md names, and what of ours is the same thing, if anything is."""

    source: str
    what: str
    theirs: str  # in %
    reason: str  # why ours may differ, or is missing
    model: str | None = None
    figure: str | None = None
    data: str = "mnist"
    radius: int | None = None  # of the grid that the figure was taken over


NOTEBOOK = "it trained on all 60,000 images, and looked at the test images after every epoch"
OTHER_MLP = "other layers and recipe"
OTHER_CNN = "ReLU and max pooling; ours is LeNet-5"
CANVAS = "theirs has offsets of -10 to 9 pixels; ours, of a run with data=mnist_canvas and evaluation.radius=10, to 10"
PUBLISHED = [
    Published("the notebook", "MLP, clean", "97.89", NOTEBOOK, "mlp", "clean"),
    Published("the notebook", "LeNet-5, clean", "98.70", NOTEBOOK, "lenet", "clean"),
    Published("the notebook", "ResNet-18, clean", "99.04", NOTEBOOK, "resnet", "clean"),
    Published("CS671, assignment 2", "MLP, clean", "97.47", OTHER_MLP, "mlp", "clean"),
    Published("CS671, assignment 2", "MLP, 4 pixels to the right", "43.24", OTHER_MLP, "mlp", "right4"),
    Published("CS671, assignment 2", "small CNN, clean", "98.95", OTHER_CNN, "lenet", "clean"),
    Published("CS671, assignment 2", "small CNN, 4 pixels to the right", "69.58", OTHER_CNN, "lenet", "right4"),
    Published("slacml-school", "MLP on a 48x48 canvas", "13.07", CANVAS, "mlp", "grid", "mnist_canvas", 10),
    Published("slacml-school", "CNN with global max pooling, the same", "96.57", "none of the three pools globally"),
    Published(
        "jinseokm.github.io", "CNN with 0, 1, 2 pooling layers", "68.6, 71.8, 84.3", "they differ in pooling alone"
    ),
    Published(
        "BlurPool (Zhang 2019)",
        "consistency of ResNet-18 on ImageNet, without and with",
        "85.11, 88.36",
        "other images, and random pairs of shifts by up to 32 of 224 pixels",
    ),
]


def published(summary: Summary) -> list[dict[str, str]]:
    """Published figures, of which MNIST alone has any, beside ours of the same thing, from the first seed."""
    if summary["data"] not in {one.data for one in PUBLISHED}:
        return []
    first_seed = summary["models"][0]["seed"]
    ours = {
        entry["model"]: entry["figures"]
        for entry in summary["models"]
        if entry["regime"] in ("zero", "canvas") and entry["seed"] == first_seed
    }
    rows = []
    for one in PUBLISHED:
        same = one.model in ours and one.data == summary["data"] and one.radius in (None, summary["radius"])
        measured = percent(ours[one.model][one.figure]) if same else "not measured by this run"
        rows.append(
            {"source": one.source, "what": one.what, "theirs": one.theirs, "ours": measured, "reason": one.reason}
        )
    return rows


def page(summary: Summary, pictures: Mapping[str, bytes]) -> str:
    """The report as HTML.

    Args:
        pictures: PNG by name, as `comparison.pictures` gives them.
    """
    environment = Environment(
        loader=PackageLoader("shiftlab", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "plain": plain, "probability": probability}
    regimes = list(dict.fromkeys(entry["regime"] for entry in summary["models"]))
    return environment.get_template("report.html").render(
        summary=summary,
        answer=answer(summary),
        regimes={regime: regime_in_words(regime, summary).replace("`", "") for regime in regimes},
        sets=[name for name in summary["models"][0]["figures"] if name not in SUMMARY],
        columns=columns(summary),
        grid_in_words=grid_in_words(summary),
        published=published(summary),
        pictures={name: f"data:image/png;base64,{b64encode(png).decode()}" for name, png in pictures.items()},
    )
