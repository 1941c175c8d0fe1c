"""What the report's moving parts show: stored answers, images and metrics, packed for the page's script.

With several seeds they are those of the first. The browser computes no metric: it looks answers up. The only importer
of vl_convert, which brings the JavaScript that draws charts.
"""

import copy
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import vl_convert
from numpy.typing import NDArray
from torch import Tensor

from shiftlab.metrics.comparison import MetricsByKey, PredictionsByKey, boundaries, first_seed, of_boundary
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate, Floats
from shiftlab.reports import primitives
from shiftlab.reports.blocks import CLASS_COLOURS, CONTRAST_COLOURS, address, load_yaml, read_text
from shiftlab.reports.plots import pixels
from shiftlab.reports.study import contrast_label, metric_label, p_value_label, which_way
from shiftlab.shifts import boundaries as boundary_modes
from shiftlab.shifts.predictions import Predictions

MAX_PREDICTIONS = 1_300_000  # in the page, which they make larger by a byte each
MAX_BYTES = 1_000_000  # of the images in it, uncompressed
MAX_CLASSES = 30  # whose confusion matrix has room
MAPS = ("accuracy", "agreement", "agreement where right")
RADII = {  # what is shown against the radius, and the name it has in metrics
    "accuracy at the radius": "accuracy",
    "right at every shift within": "robust_accuracy",
    "mean confidence at the radius": "confidence",
    "expected calibration error at the radius": "calibration_error",
    "ink in the frame at the radius": "ink",
}

Study = Mapping[str, Any]  # the content of metrics/study.json


def parts(predictions: PredictionsByKey, metrics: MetricsByKey, images: Tensor, study: Study | None) -> dict[str, Any]:
    """Return what explorer.html takes: the choices of its controls, lists of names, and what it embeds.

    Args:
        images: the test images, uint8 `(N, C, H, W)`.
        study: of the same data; none where there is none.
    """
    places = select_images(predictions, metrics, images)
    page_content = content(predictions, metrics, images, places, study)
    models = next(iter(page_content["metrics"].values()))
    of_model = next(iter(models.values()))
    library: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub has no default
    return {
        "boundaries": list(page_content["metrics"]),
        "models": list(models),
        **{kind: list(by_name) for kind, by_name in of_model.items()},  # maps, curves, radii, confusions
        "seed": page_content["seed"],
        "script": read_text("explorer.js"),
        "style": read_text("explorer.css"),
        "library": library,  # vega, vega-lite and vega-embed, which draw the charts
        "charts": charts(),
        "content": page_content,  # as the charts, in JSON's types
        "answers": b64encode(pack(predictions, places)).decode(),
    }


def charts() -> dict[str, Any]:
    """Return the charts of charts.yaml, Vega-Lite by name, with the colours of the study's verdicts."""
    by_name: dict[str, Any] = copy.deepcopy(load_yaml("charts.yaml")["charts"])
    colours = {"domain": list(CONTRAST_COLOURS), "range": list(CONTRAST_COLOURS.values())}
    for layer in by_name["effects"]["layer"][1:]:
        layer["encoding"]["color"]["scale"] = colours
    return by_name


def select_images(predictions: PredictionsByKey, metrics: MetricsByKey, images: Tensor) -> NDArray[np.intp]:
    """Return which of the grid's images the page holds, as places in the grid, sorted.

    As many as the page has room for: for one half the most fragile of every model and boundary in turn, for the other
    the first of the grid, which was drawn from the test set at random.
    """
    of_first_seed = first_seed(predictions)
    grid = next(iter(of_first_seed.values())).grid
    room = min(MAX_PREDICTIONS // (len(of_first_seed) * len(grid.shifts)), MAX_BYTES // images[0].numel())
    count = max(1, min(len(grid.images), room))
    place = {image: place for place, image in enumerate(grid.images.tolist())}
    fragile = [[image.image for image in of_model.nearest_failing_shifts] for of_model in first_seed(metrics).values()]
    in_turn = dict.fromkeys(image for image in chain(*zip_longest(*fragile)) if image is not None)
    half = [place[image] for image in list(in_turn)[: count // 2]]
    return np.sort(np.array(list(dict.fromkeys([*half, *range(len(grid.images))]))[:count], dtype=np.intp))


def pack(predictions: PredictionsByKey, places: NDArray[np.intp]) -> bytes:
    """Return the predictions of the images at `places` in the grid, compressed (zlib).

    Uncompressed: for each boundary, for each model, the classes `(images, shifts)`, uint8 or little-endian uint16;
    then, in the same order, the probabilities of those classes in whole %, uint8.
    """
    grids = [of_model.grid for of_model in first_seed(predictions).values()]
    classes = [grid.predicted[:, places].T for grid in grids]
    percent = [np.rint(100 * grid.confidence[:, places].T.astype(np.float32)).astype(np.uint8) for grid in grids]
    little_endian = [part.astype(part.dtype.newbyteorder("<")) for part in classes]
    return zlib.compress(b"".join(part.tobytes() for part in (*little_endian, *percent)), 9)


def content(
    predictions: PredictionsByKey, metrics: MetricsByKey, images: Tensor, places: NDArray[np.intp], study: Study | None
) -> dict[str, Any]:
    """Return all else that the page's script looks up, in JSON's types; `places` are of its images in the grid."""
    metrics = first_seed(metrics)
    (_, seed, _), first = next(iter(first_seed(predictions).items()))
    names = boundaries(metrics)
    radius = next(iter(metrics.values())).radius
    with_matrices = len(first.metadata.classes) <= MAX_CLASSES
    return {
        "data": first.metadata.data,
        "seed": seed,
        "classes": first.metadata.classes,
        "palette": CLASS_COLOURS,
        "frame": first.metadata.shape[1:],
        "radius": radius,
        "shifts": first.grid.shifts.tolist(),
        "boundaries": {name: boundary_modes.get(boundary).display for boundary, name in names.items()},
        "images": _images(first, images, places, radius, names),
        "metrics": {
            name: {model: _metrics(at, with_matrices) for model, at in of_boundary(metrics, boundary).items()}
            for boundary, name in names.items()
        },
        "claims": [_claim(claim) for claim in study["claims"]] if study else [],
    }


def _images(
    predictions: Predictions, images: Tensor, places: NDArray[np.intp], radius: int, names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return each image's number, class and pictures: of the frame, and padded by the boundary modes that need it."""
    numbers, frame = predictions.grid.images[places], predictions.metadata.shape[1:]
    pictures = {"picture": boundary_modes.get("zero").pad(images[numbers], 0, frame)}
    for boundary, name in names.items():
        if (mode := boundary_modes.get(boundary)).display == "padded":
            pictures[name] = mode.pad(images[numbers], radius, frame)
    return [
        {
            "image": number,
            "class": int(predictions.labels[number]),
            **{kind: address(primitives.png(pixels(of_kind[place]))) for kind, of_kind in pictures.items()},
        }
        for place, number in enumerate(numbers.tolist())
    ]


def _metrics(metrics: Metrics, with_matrices: bool) -> dict[str, Any]:
    """Return one model's metrics in one boundary."""
    radii = [at.radius for at in metrics.radii]
    matrices = metrics.confusion_matrices if with_matrices else {}
    return {
        "maps": {name: _rounded(vars(metrics.maps[name])) for name in MAPS},
        "curves": {direction: _line(*zip(*curve, strict=True)) for direction, curve in metrics.curves.items()},
        "radii": {label: _line(radii, [getattr(at, name) for at in metrics.radii]) for label, name in RADII.items()},
        "confusions": {name: matrix.tolist() for name, matrix in matrices.items()},
    }


def _line(steps: Sequence[int], estimates: Sequence[Estimate]) -> dict[str, Sequence[float | None]]:
    ends = {end: np.array([getattr(estimate, end) for estimate in estimates]) for end in ("value", "low", "high")}
    return {"step": steps, **_rounded(ends)}


def _rounded(arrays: Mapping[str, Floats]) -> dict[str, list[float | None]]:
    """Return arrays, a map's row by row, rounded to four decimals; JSON has no nan."""
    return {
        name: [None if value != value else round(value, 4) for value in array.ravel().tolist()]
        for name, array in arrays.items()
    }


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim with its contrasts, in points."""
    contrasts = [
        {
            "contrast": f"{contrast_label(contrast)} ({metric_label(contrast)})",
            **{end: round(100 * contrast[end], 3) for end in ("difference", "low", "high")},
            "p": p_value_label(contrast),
            "verdict": contrast["verdict"] or "secondary",
        }
        for contrast in claim["contrasts"]
        if contrast["difference"] is not None
    ]
    return {key: claim[key] for key in ("claim", "says", "verdict")} | {
        "which_way": which_way(claim),
        "contrasts": contrasts,
    }
