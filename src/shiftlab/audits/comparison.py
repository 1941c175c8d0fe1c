"""Audits side by side: the same images, shifts and pixels, or a refusal that says how they differ."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from shiftlab import files
from shiftlab.audits.audit import METRICS, PREDICTIONS, Audit
from shiftlab.config.params import BoundaryName
from shiftlab.data.dataset import numbered
from shiftlab.errors import UserError
from shiftlab.metrics import comparison, registry
from shiftlab.metrics.evaluation import Metrics, evaluate
from shiftlab.reports import audit as report
from shiftlab.reports import plots
from shiftlab.shifts import predictions
from shiftlab.shifts.predictions import Predictions, label_type, renumber

EARLIER = "figures.json"  # the file of earlier versions' audits
# What must be the same in two audits, in words. The scale of pixels' values is each model's own affair.
SAME = {
    ("data", "digest"): "the images",
    ("data", "images"): "the number of images",
    ("protocol", "boundaries"): "the boundaries",
    ("protocol", "radius"): "the radius",
    ("protocol", "shifts"): "the number of shifts",
    ("protocol", "seed"): "the seed",
    ("preprocessing", "frame"): "what the model sees (--crop)",
    ("preprocessing", "resize"): "the resizing (--size)",
    ("preprocessing", "interpolation"): "the interpolation",
    ("preprocessing", "crop_mode"): "the way to resize (--crop-mode)",
}

Summary = Mapping[str, Any]  # the content of metrics.json
Results = tuple[Summary, Mapping[BoundaryName, Predictions]]


@dataclass(frozen=True)
class Comparison:
    """Two audits or more, and how they differ."""

    summaries: dict[str, Summary]  # by label
    metrics: dict[BoundaryName, dict[str, Metrics]]
    differences: dict[str, list[dict[str, Any]]]  # by boundary: paired tests of every pair of models

    def summary(self) -> dict[str, Any]:
        """Return all numbers, in JSON's types."""
        return {
            "models": {label: summary["model"] for label, summary in self.summaries.items()},
            "metrics": {label: summary["metrics"] for label, summary in self.summaries.items()},
            "differences": self.differences,
        }

    def save(self, folder: str | Path) -> Path:
        """Write comparison.html and comparison.json; return the page's path.

        Raises:
            OSError: as `files.write`.
        """
        page = Path(folder, "comparison.html")
        pictures = {
            f"{boundary}-{name}": picture
            for boundary, models in self.metrics.items()
            for name, picture in plots.of_models(models).items()
        }
        with files.replacing(page.parent, ["comparison.json", page.name]) as new:
            files.write(new / "comparison.json", json.dumps(self.summary(), indent=2, allow_nan=False) + "\n")
            files.write(new / page.name, report.comparison_page(self.summaries, self.differences, pictures))
        return page

    def __repr__(self) -> str:
        return report.comparison_table(self.summaries, self.differences)


def compare(*audits: Audit | str | Path) -> Comparison:
    """Compare audits: of this process, or from the folders they were saved to.

    Raises:
        UserError: fewer than two; one without labels; their options differ, and the sentence says which.
    """
    if len(audits) < 2:
        raise UserError("a comparison needs two audits at least: name their folders")
    results: dict[str, Results] = {}  # by label
    for audit in audits:
        loaded = (_as_read(audit.summary()), audit.predictions) if isinstance(audit, Audit) else _load(Path(audit))
        label = str(loaded[0]["model"]["name"])
        while label in results:
            label += "'" if isinstance(audit, Audit) else f" ({Path(audit).name})"
        results[label] = loaded
    first, *others = results
    for other in others:
        _refuse_different(results, first, other)
    protocol = results[first][0]["protocol"]
    results = _numbered_alike(results)
    metrics: dict[BoundaryName, dict[str, Metrics]] = {boundary: {} for boundary in protocol["boundaries"]}
    for boundary, (label, (_, predicted)) in product(metrics, results.items()):
        metrics[boundary][label] = evaluate(predicted[boundary], protocol["radius"], protocol["phase"])
    differences = {boundary: comparison.differences(models) for boundary, models in metrics.items()}
    return Comparison({label: summary for label, (summary, _) in results.items()}, metrics, differences)


def _refuse_different(results: Mapping[str, Results], first: str, second: str) -> None:
    """Refuse two audits of other images, options or shifts."""
    (summary, predicted), (other_summary, other_predicted) = results[first], results[second]
    if not (summary["labelled"] and other_summary["labelled"]):
        raise UserError("images without labels have no accuracies to compare: audit labelled ones")
    different = f"{first} and {second} were not audited alike"
    for (part, key), name in SAME.items():
        value, other_value = summary[part].get(key), other_summary[part].get(key)
        if value != other_value:
            raise UserError(f"{different}: {name} differ, {value} and {other_value}; audit both with the same options")
    for boundary, of_boundary in predicted.items():
        if not np.array_equal(of_boundary.grid.shifts, other_predicted[boundary].grid.shifts):
            raise UserError(f"{different}: other shifts were drawn; audit both with the same options")


def _as_read(summary: Summary) -> Summary:
    """Return an audit's summary as a file gives it back, without tuples."""
    read: Summary = json.loads(json.dumps(summary))
    return read


def _numbered_alike(results: Mapping[str, Results]) -> dict[str, Results]:
    """Return results in which every model's classes have the same numbers, by their names.

    Names that are but the numbers of outputs stand for the other models' classes in their order, if those have names.

    Raises:
        UserError: an image's class goes by different names.
    """
    names = {label: next(iter(of.values())).metadata.classes for label, (_, of) in results.items()}
    ordered = next((classes for classes in names.values() if set(classes) != set(numbered(len(classes)))), ())
    keys = {}  # each output's name, and how many before it have that name
    for label, classes in names.items():
        if set(classes) == set(numbered(len(ordered))):
            classes = tuple(ordered[int(number)] for number in classes)
        keys[label] = [(name, classes[:place].count(name)) for place, name in enumerate(classes)]
    every = list(dict.fromkeys(key for of_model in keys.values() for key in of_model))
    alike: dict[str, Results] = {}
    for label, (summary, of) in results.items():
        numbers = np.array([every.index(key) for key in keys[label]], dtype=label_type(len(every)))
        classes = tuple(name for name, _ in every)
        alike[label] = summary, {boundary: renumber(one, numbers, classes) for boundary, one in of.items()}
    (first, labels), *others = ((label, next(iter(of.values())).labels) for label, (_, of) in alike.items())
    for other, other_labels in others:
        for number, other_number in zip(labels, other_labels, strict=True):
            if number != other_number:
                raise UserError(
                    f"{first} and {other} were not audited alike: the class of one image is {every[number][0]!r} and "
                    f"{every[other_number][0]!r}; name the outputs of both alike, with --classes FILE"
                )
    return alike


def _load(folder: Path) -> Results:
    """Read what `Audit.save` wrote."""
    path = folder / METRICS
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        boundaries = summary["protocol"]["boundaries"]
    except (FileNotFoundError, NotADirectoryError):
        if (folder / EARLIER).is_file():
            raise UserError(
                f"{folder} holds {EARLIER}, which an earlier version of shiftlab wrote: audit the model anew"
            ) from None
        raise UserError(f"{folder} holds no audit ({METRICS}): `shiftlab audit --out {folder}` makes one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not an audit's ({error}): audit anew") from None
    known = registry.metrics(summary["protocol"]["radius"])
    if unknown := [key for key in next(iter(summary["metrics"].values())) if key not in known]:
        raise UserError(f"{path} is of another version, which measured {', '.join(unknown)}: audit anew")
    files_of = {boundary: folder / PREDICTIONS / f"{boundary}.safetensors" for boundary in boundaries}
    return summary, {boundary: predictions.load(file) for boundary, file in files_of.items()}
