"""What the report's moving parts show: stored answers, images and metrics, packed for the page's script.

With several seeds they are those of the first. The browser computes no metric: it looks answers up.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shiftlab.metrics.comparison import MetricsByKey, PredictionsByKey, boundaries, first_seed, of_boundary
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate, Estimates
from shiftlab.reports import charts, primitives
from shiftlab.reports.blocks import CONTRAST_COLOURS, address
from shiftlab.reports.plots import pixels
from shiftlab.reports.study import contrast_in_words, metric_in_words, test_in_words, which_way
from shiftlab.shifts.boundaries import surround
from shiftlab.shifts.predictions import Predictions

MOST_ANSWERS = 1_300_000  # in the page, which they make larger by a byte each
MOST_BYTES = 1_000_000  # of the images in it, uncompressed
MOST_CLASSES = 30  # whose confusion matrix has room
MAPS = ("accuracy", "agreement", "agreement where right")
RADII = {  # what is shown against the radius, and the name it has in metrics
    "accuracy at the radius": "accuracy",
    "right at every shift within": "robust_accuracy",
    "mean confidence at the radius": "confidence",
    "expected calibration error at the radius": "calibration_error",
    "ink in the frame at the radius": "ink",
}
# Classes on a map of answers, where there are few: ten colours that colour-blind eyes tell apart, by Paul Tol (2021).
PALETTE = [
    *("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#bbbbbb"),
]

Study = Mapping[str, Any]  # the content of metrics/study.json
Columns = dict[str, list[float | None]]


def parts(answers: PredictionsByKey, found: MetricsByKey, images: Tensor, study: Study | None) -> dict[str, Any]:
    """What explorer.html wants.

    Args:
        images: the test images, uint8 `(N, C, H, W)`.
        study: of the same data; none where there is none.

    Returns:
        The choices of its controls, lists of names; what it embeds: "script", "library" and "style", "charts" and
        "content", which are JSON, and "answers", which is base64.
    """
    shown = chosen(answers, found, images)
    held = content(answers, found, images, shown, study)
    some = next(iter(next(iter(held["metrics"].values())).values()))
    return {
        "boundaries": list(held["metrics"]),
        "models": list(next(iter(held["metrics"].values()))),
        "maps": list(some["maps"]),
        "directions": list(some["curves"]),
        "radii": list(some["radii"]),
        "sets": list(some["confusions"]),
        "seed": held["seed"],
        "script": Path(__file__).with_name("explorer.js").read_text(encoding="utf-8"),
        "style": Path(__file__).with_name("explorer.css").read_text(encoding="utf-8"),
        "library": charts.library(),
        "charts": _json(charts.specifications(CONTRAST_COLOURS)),
        "content": _json(held),
        "answers": b64encode(pack(answers, shown)).decode(),
    }


def chosen(answers: PredictionsByKey, found: MetricsByKey, images: Tensor) -> NDArray[np.intp]:
    """Which of the grid's images the page holds, as places in the grid, sorted.

    As many as the page has room for: for one half the most fragile of every model and boundary in turn, for the other
    the first of the grid, which was drawn from the test set at random.
    """
    of_first = first_seed(answers)
    some = next(iter(of_first.values()))
    on_grid = some.grid.images
    room = min(MOST_ANSWERS // (len(of_first) * len(some.grid.shifts)), MOST_BYTES // images[0].numel())
    count = max(1, min(len(on_grid), room))
    place = {image: place for place, image in enumerate(on_grid.tolist())}
    fragile = [[one.image for one in metrics.nearest_failing_shifts] for metrics in first_seed(found).values()]
    in_turn = dict.fromkeys(image for image in chain(*zip_longest(*fragile)) if image is not None)
    taken = [place[image] for image in list(in_turn)[: count // 2]]
    both = list(dict.fromkeys([*taken, *range(len(on_grid))]))[:count]
    return np.sort(np.array(both, dtype=np.intp))


def pack(answers: PredictionsByKey, shown: NDArray[np.intp]) -> bytes:
    """The answers on the images `shown`, compressed (zlib).

    Uncompressed: for each boundary, for each model, the classes `(images, shifts)`, uint8 or little-endian uint16;
    then, in the same order, the probabilities of those classes in whole %, uint8.
    """
    grids = [one.grid for one in first_seed(answers).values()]
    classes = [np.ascontiguousarray(grid.predicted[:, shown].T) for grid in grids]
    percent = [np.rint(100 * grid.confidence[:, shown].T.astype(np.float32)).astype(np.uint8) for grid in grids]
    little_endian = [part.astype(part.dtype.newbyteorder("<")).tobytes() for part in classes]
    return zlib.compress(b"".join([*little_endian, *(np.ascontiguousarray(part).tobytes() for part in percent)]), 9)


def content(
    answers: PredictionsByKey, found: MetricsByKey, images: Tensor, shown: NDArray[np.intp], study: Study | None
) -> dict[str, Any]:
    """All else that the page's script looks up, in JSON's types.

    Args:
        images: the test images, uint8 `(N, C, H, W)`.
        shown: as `chosen` gives them.
    """
    metrics = first_seed(found)
    (_, seed, _), some = next(iter(first_seed(answers).items()))
    names = boundaries(found)
    radius = next(iter(metrics.values())).radius
    with_matrices = len(some.about.classes) <= MOST_CLASSES
    return {
        "data": some.about.data,
        "seed": seed,
        "classes": some.about.classes,
        "palette": PALETTE,
        "frame": some.about.shape[1:],
        "radius": radius,
        "shifts": some.grid.shifts.tolist(),
        "boundaries": {
            name: {"wraps": boundary == "circular", "wide": boundary == "crop"} for boundary, name in names.items()
        },
        "images": _images(some, images[some.grid.images[shown]], shown, radius, "crop" in names),
        "metrics": {
            name: {model: _metrics(one, with_matrices) for model, one in of_boundary(metrics, boundary).items()}
            for boundary, name in names.items()
        },
        "claims": _claims(study) if study else [],
    }


def _images(
    some: Predictions, images: Tensor, shown: NDArray[np.intp], radius: int, wide: bool
) -> list[dict[str, Any]]:
    """Each image's number, class, and picture: of the frame, and of all that a shift can bring into it in `crop`."""
    frame = some.about.shape[1:]
    kinds = {"picture": surround(images, 0, "zero", frame)}
    if wide:
        kinds["wide"] = surround(images, radius, "crop", frame)
    found = []
    for place, number in enumerate(some.grid.images[shown].tolist()):
        pictures = {kind: address(primitives.png(pixels(of[place]))) for kind, of in kinds.items()}
        found.append({"image": number, "class": int(some.labels[number]), **pictures})
    return found


def _metrics(metrics: Metrics, with_matrices: bool) -> dict[str, Any]:
    """One model's, in one boundary."""
    radii = [at.radius for at in metrics.radii]
    return {
        "maps": {name: _columns(metrics.maps[name]) for name in MAPS},
        "curves": {
            direction: {"step": [step for step, _ in curve], **_rows([one for _, one in curve])}
            for direction, curve in metrics.curves.items()
        },
        "radii": {
            words: {"step": radii, **_rows([getattr(at, name) for at in metrics.radii])}
            for words, name in RADII.items()
        },
        "confusions": {name: one.tolist() for name, one in metrics.confusion_matrices.items()} if with_matrices else {},
    }


def _rows(estimates: Sequence[Estimate]) -> Columns:
    ends = ("value", "low", "high")
    return {end: [_rounded(getattr(one, end)) for one in estimates] for end in ends}


def _columns(estimates: Estimates) -> Columns:
    """Of a map, row by row."""
    return {end: [_rounded(one) for one in table.ravel().tolist()] for end, table in vars(estimates).items()}


def _rounded(value: float) -> float | None:
    """JSON has no nan."""
    return None if value != value else round(value, 4)


def _claims(study: Study) -> list[dict[str, Any]]:
    """Every claim with its contrasts, in points."""
    return [
        {
            "claim": claim["claim"],
            "says": claim["says"],
            "verdict": claim["verdict"],
            "which_way": which_way(claim),
            "contrasts": [
                {
                    "contrast": f"{contrast_in_words(one)} ({metric_in_words(one)})",
                    **{end: round(100 * one[end], 3) for end in ("difference", "low", "high")},
                    "p": test_in_words(one),
                    "verdict": one["verdict"] or "secondary",
                }
                for one in claim["contrasts"]
                if one["difference"] is not None
            ],
        }
        for claim in study["claims"]
    ]


def _json(value: Any) -> str:
    """JSON that may stand in a page: nothing in it ends a script."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
