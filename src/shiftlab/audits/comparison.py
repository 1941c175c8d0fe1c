"""Audits side by side: the same images, shifts and pixels, or a refusal that says how they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shiftlab import files
from shiftlab.audits.audit import METRICS, PREDICTIONS, Audit
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics import comparison, evaluation, registry
from shiftlab.metrics.evaluation import Metrics
from shiftlab.reports import audit as show
from shiftlab.reports import plots
from shiftlab.shifts import predictions
from shiftlab.shifts.predictions import Predictions

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
}


@dataclass(frozen=True)
class Comparison:
    """Two audits or more, and how they differ."""

    summaries: dict[str, Mapping[str, Any]]  # by label
    metrics: dict[BoundaryName, dict[str, Metrics]]
    differences: dict[str, list[dict[str, Any]]]  # by boundary: paired tests of every pair of models

    def summary(self) -> dict[str, Any]:
        """All numbers, in JSON's types."""
        return {
            "models": {label: one["model"] for label, one in self.summaries.items()},
            "metrics": {label: one["metrics"] for label, one in self.summaries.items()},
            "differences": self.differences,
        }

    def save(self, folder: str | Path) -> Path:
        """Write comparison.html and comparison.json.

        Returns:
            The page's path.

        Raises:
            OSError: as `files.write`.
        """
        place = Path(folder)
        drawn = {
            f"{boundary}-{name}": picture
            for boundary, models in self.metrics.items()
            for name, picture in plots.of_models(models).items()
        }
        files.write(place / "comparison.json", json.dumps(self.summary(), indent=2, allow_nan=False) + "\n")
        files.write(place / "comparison.html", show.comparison_page(self.summaries, self.differences, drawn))
        return place / "comparison.html"

    def __repr__(self) -> str:
        return show.comparison_table(self.summaries, self.differences)


def compare(*audits: Audit | str | Path) -> Comparison:
    """Compare audits: of this process, or from the folders they were saved to.

    Raises:
        UserError: fewer than two; one without labels; their options differ, and the sentence says which.
    """
    if len(audits) < 2:
        raise UserError("a comparison needs two audits at least: name their folders")
    summaries: dict[str, Mapping[str, Any]] = {}
    predicted: dict[str, dict[BoundaryName, Predictions]] = {}
    for audit in audits:
        summary, saved = (audit.summary(), audit.predictions) if isinstance(audit, Audit) else _read(Path(audit))
        label = str(summary["model"]["name"])
        while label in summaries:
            label += "'" if isinstance(audit, Audit) else f" ({Path(audit).name})"
        summaries[label], predicted[label] = summary, saved
    _refuse_different(summaries)
    first = next(iter(summaries.values()))
    radius, phase = first["protocol"]["radius"], first["protocol"]["phase"]
    metrics: dict[BoundaryName, dict[str, Metrics]] = {}
    differences: dict[str, list[dict[str, Any]]] = {}
    for boundary in first["protocol"]["boundaries"]:
        models = {label: saved[boundary] for label, saved in predicted.items()}
        _refuse_different_shifts(models)
        metrics[boundary] = {label: evaluation.evaluate(one, radius, phase) for label, one in models.items()}
        differences[boundary] = comparison.differences(metrics[boundary])
    return Comparison(summaries, metrics, differences)


def _refuse_different(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    (name, first), *others = summaries.items()
    for label, other in others:
        if not (first["labelled"] and other["labelled"]):
            raise UserError("images without labels have no accuracies to compare: audit labelled ones")
        for (part, key), words in SAME.items():
            ours, theirs = first[part][key], other[part][key]
            if ours != theirs:
                raise UserError(
                    f"{name} and {label} were not audited alike: {words} differ, {ours} and {theirs}; audit both with "
                    "the same options"
                )


def _refuse_different_shifts(models: Mapping[str, Predictions]) -> None:
    """Refuse as many shifts that are others."""
    (name, first), *others = models.items()
    for label, other in others:
        if not np.array_equal(first.grid.shifts, other.grid.shifts):
            raise UserError(
                f"{name} and {label} were not audited alike: other shifts were drawn; audit both with the same options"
            )


def _read(folder: Path) -> tuple[Mapping[str, Any], dict[BoundaryName, Predictions]]:
    try:
        summary = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        boundaries = summary["protocol"]["boundaries"]
    except (FileNotFoundError, NotADirectoryError):
        if (folder / EARLIER).is_file():
            raise UserError(
                f"{folder} holds {EARLIER}, which an earlier version of shiftlab wrote: audit the model anew"
            ) from None
        raise UserError(f"{folder} holds no audit ({METRICS}): `shiftlab audit --out {folder}` makes one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / METRICS} is not an audit's ({error}): audit anew") from None
    known = registry.metrics(summary["protocol"]["radius"])
    if unknown := [key for key in next(iter(summary["metrics"].values())) if key not in known]:
        raise UserError(f"{folder / METRICS} is of another version, which measured {', '.join(unknown)}: audit anew")
    return summary, {
        boundary: predictions.load(folder / PREDICTIONS / f"{boundary}.safetensors") for boundary in boundaries
    }
