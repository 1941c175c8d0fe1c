"""Every chart that answers the mouse, as Vega-Lite; the only importer of altair and vl_convert.

A chart holds no data: the page's script gives it rows, and moves its parameters with the page's controls.
"""

from collections.abc import Mapping
from typing import Any

import altair as alt
import vl_convert

Specification = dict[str, Any]  # of Vega-Lite, in JSON's types
Chart = Any  # altair's, of which kind its methods forget

# The two models that are compared: colours and marks that people who see no red and green tell apart.
COLOURS = alt.Scale(domain=["first", "second"], range=["#0072b2", "#d55e00"])
MARKS = alt.Scale(domain=["first", "second"], range=["circle", "triangle-up"])
SHARE = alt.Scale(domain=[0, 1], scheme="viridis")
ROOTS = alt.Scale(domain=[0, 1], scheme="viridis", type="sqrt")  # so that a few errors of many images are seen
INTERVAL = [
    alt.Tooltip("value:Q", format=".2%"),
    alt.Tooltip("low:Q", format=".2%", title="95% interval from"),
    alt.Tooltip("high:Q", format=".2%", title="to"),
]
# A cell of a map is a pixel wide and high.
EDGES = {"left": "{}dx - 0.5", "right": "{}dx + 0.5", "top": "{}dy - 0.5", "bottom": "{}dy + 0.5"}


def library() -> str:
    """Return the JavaScript that draws charts, to be put into a page: vega, vega-lite and vega-embed."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub has no default
    return bundle


def specifications(verdicts: Mapping[str, str]) -> dict[str, Specification]:
    """Return every chart by name.

    Args:
        verdicts: the colour of each.
    """
    charts = {
        "answers": _answers(),
        "map": _map(),
        "curves": _curves(),
        "radii": _radii(),
        "confusion": _confusion(),
        "effects": _effects(verdicts),
    }
    # Without the address of the schema, which nothing in a page needs.
    return {
        name: {key: of for key, of in chart.to_dict().items() if key != "$schema"} for name, chart in charts.items()
    }


def _answers() -> Chart:
    """Chart what a model calls one image at every shift, and the present shift.

    Rows: dx, dy, answer, probability, colour. Parameters: dx, dy.
    """
    cells = (
        _cells(alt.NamedData("answers"), "datum.")
        .mark_rect()
        .encode(
            color=alt.Color("colour:N", scale=None),
            tooltip=["dx:Q", "dy:Q", "answer:N", alt.Tooltip("probability:Q", format=".0%")],
        )
    )
    here = _cells(alt.Data(values=[{}]), "")
    halo = here.mark_rect(fillOpacity=0, stroke="white", strokeWidth=6)
    ring = here.mark_rect(fillOpacity=0, stroke="black", strokeWidth=2.5)
    return _sized(
        (cells + halo + ring).add_params(alt.param(name="dx", value=0), alt.param(name="dy", value=0)), "container"
    )


def _map() -> Chart:
    """Chart a metric at every shift; beyond a radius it is pale. Rows: dx, dy, value, low, high. Parameter: radius."""
    within = "max(abs(datum.dx), abs(datum.dy)) <= radius"
    chart = _cells(alt.NamedData("map"), "datum.").mark_rect()
    chart = chart.encode(
        color=alt.Color("value:Q", scale=SHARE, title=None, legend=alt.Legend(format=".0%", orient="bottom")),
        opacity=alt.condition(within, alt.value(1), alt.value(0.15)),
        tooltip=["dx:Q", "dy:Q", *INTERVAL],
    )
    return _sized(chart.add_params(alt.param(name="radius", value=0)), "container")


def _cells(data: Any, prefix: str) -> Chart:
    """Return a chart with a cell for each shift; dy grows downwards, as it does in images."""
    scales = [alt.Scale(nice=False, zero=False, reverse=reverse) for reverse in (False, True)]
    return (
        alt.Chart(data)
        .transform_calculate(**{edge: where.format(prefix) for edge, where in EDGES.items()})
        .encode(
            x=alt.X("left:Q", title="dx, right (pixels)", scale=scales[0], axis=alt.Axis(grid=False)),
            x2="right:Q",
            y=alt.Y("top:Q", title="dy, down (pixels)", scale=scales[1], axis=alt.Axis(grid=False)),
            y2="bottom:Q",
        )
    )


def _curves() -> Chart:
    """Chart two models' accuracy along a line. Rows: model, place (first or second), step, value, low, high."""
    return _sized(_lines("curves", "shift (pixels)", "accuracy"), 260)


def _radii() -> Chart:
    """Chart two models' metrics against the radius. Rows: as of the curves, the radius as step. Parameter: radius."""
    lines = _lines("radii", "radius (pixels)", "share")
    rule = alt.Chart(alt.Data(values=[{}])).transform_calculate(step="radius").mark_rule(strokeDash=[4, 3])
    return _sized((lines + rule.encode(x="step:Q")).add_params(alt.param(name="radius", value=0)), 260)


def _lines(data: str, across: str, up: str) -> Chart:
    def height(field: str) -> alt.Y:
        return alt.Y(field, title=up, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"))

    chart = alt.Chart(alt.NamedData(data)).encode(
        x=alt.X("step:Q", title=across), color=alt.Color("place:N", scale=COLOURS, legend=None)
    )
    band = chart.mark_area(opacity=0.2).encode(y=height("low:Q"), y2="high:Q")
    line = chart.mark_line().encode(y=height("value:Q"))
    points = chart.mark_point(filled=True, size=50, opacity=1).encode(
        y=height("value:Q"),
        shape=alt.Shape("place:N", scale=MARKS, legend=None),
        tooltip=["model:N", "step:Q", *INTERVAL],
    )
    return band + line + points


def _confusion() -> Chart:
    """Chart how often each class is called each. Rows: actual, predicted, count, share (of the actual class)."""
    chart = alt.Chart(alt.NamedData("confusion")).mark_rect()
    chart = chart.encode(
        x=alt.X("predicted:N", title="is called", sort=None),
        y=alt.Y("actual:N", title="is", sort=None),
        color=alt.Color("share:Q", scale=ROOTS, title=None, legend=alt.Legend(format=".0%", orient="bottom")),
        tooltip=["actual:N", "predicted:N", "count:Q", alt.Tooltip("share:Q", format=".2%", title="of the class")],
    )
    return _sized(chart, "container")


def _effects(verdicts: Mapping[str, str]) -> Chart:
    """Chart contrasts of the study on one axis, in points. Rows: contrast, by, low, high, p, verdict."""
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=list(verdicts), range=list(verdicts.values())),
        legend=alt.Legend(orient="bottom", title=None, columns=2),
    )
    none = alt.Chart(alt.Data(values=[{"low": -1, "high": 1}]))
    band = none.mark_rect(color="grey", opacity=0.25).encode(x="low:Q", x2="high:Q")
    chart = alt.Chart(alt.NamedData("effects")).encode(
        y=alt.Y("contrast:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)), color=colour
    )
    title = "difference (percentage points)"
    rule = chart.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    interval = [alt.Tooltip("low:Q", format="+.2f", title="95% interval from"), alt.Tooltip("high:Q", format="+.2f")]
    point = chart.mark_point(filled=True, size=70, opacity=1).encode(
        x=alt.X("by:Q", title=title),
        tooltip=["contrast:N", alt.Tooltip("by:Q", format="+.2f", title="points"), *interval, "p:N", "verdict:N"],
    )
    return _sized(band + rule + point, alt.Step(24))


def _sized(chart: Chart, height: Any) -> Chart:
    return chart.properties(width="container", height=height)
