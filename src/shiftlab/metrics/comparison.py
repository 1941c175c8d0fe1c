"""All models side by side: the numbers of every table, in JSON's types."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from shiftlab.config.params import BoundaryName
from shiftlab.metrics import curves, evaluation, pairing
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate, OverSeeds
from shiftlab.shifts.predictions import Predictions

HEADLINE = ("clean", "right5", "random5", "consistency")

# (model's name, seed, boundary) -> its predictions, and its metrics; all on the same data
Key = tuple[str, int, BoundaryName]
PredictionsByKey = Mapping[Key, Predictions]
MetricsByKey = Mapping[Key, Metrics]
T = TypeVar("T")


def summarise(metrics: MetricsByKey) -> dict[str, Any]:
    """Return all numbers of the tables, in JSON's types: every model's, the models' differences, those over seeds."""
    some = next(iter(metrics.values()))
    names = boundaries(metrics)
    models = [
        {
            "model": model,
            "seed": seed,
            "boundary": evaluation.boundary_name(of_model.metadata),
            "parameters": of_model.metadata.parameters,
            "multiply_adds": of_model.metadata.multiply_adds,
            "metrics": {key: to_json(estimate) for key, estimate in of_model.estimates.items()},
        }
        for (model, seed, _), of_model in metrics.items()
    ]
    return {
        "data": some.metadata.data,
        "shape": list(some.metadata.shape),
        "classes": len(some.metadata.classes),
        "radius": some.radius,
        "shifts": some.shifts,
        "robust_accuracy_within": evaluation.robust_accuracy_within(some.radius),
        "images": some.images,
        "grid_images": some.grid_images,
        "moves_survived": {name: _moves_survived(metrics, boundary) for boundary, name in names.items()},
        "models": models,
        "differences": {
            name: differences(of_boundary(first_seed(metrics), boundary)) for boundary, name in names.items()
        },
        "over_seeds": _over_seeds(metrics),
        "differences_over_seeds": {name: _seed_differences(metrics, boundary) for boundary, name in names.items()},
    }


def headline(summary: Mapping[str, Any]) -> str:
    """Return the most robust model's row in `dvc exp show`, as JSON: in the first boundary, means over seeds.

    Every experiment has the same few columns, whichever models it is about. The most robust is right most often on
    `random5`.
    """
    boundary = summary["models"][0]["boundary"]
    by_model: dict[str, list[dict[str, float]]] = {}
    for entry in summary["models"]:
        if entry["boundary"] == boundary:
            values = {key: estimate["value"] for key, estimate in entry["metrics"].items()}
            by_model.setdefault(entry["model"], []).append(values)
    means = {
        model: {key: float(np.mean([values[key] for values in seeds])) for key in HEADLINE}
        for model, seeds in by_model.items()
    }
    best = max(means, key=lambda model: means[model]["random5"])
    return json.dumps({"best": best, **{key: round(means[best][key], 4) for key in HEADLINE}}, indent=2) + "\n"


def first_seed(by_key: Mapping[Key, T]) -> dict[Key, T]:
    """Return what belongs to the first seed."""
    first = next(iter(by_key))[1]
    return {key: value for key, value in by_key.items() if key[1] == first}


def of_boundary(by_key: Mapping[Key, T], boundary: BoundaryName) -> dict[str, T]:
    """Return what belongs to a boundary, by the model's label, which names the seed where there are several."""
    several = len({seed for _, seed, _ in by_key}) > 1
    return {
        f"{model} seed {seed}" if several else model: value
        for (model, seed, of), value in by_key.items()
        if of == boundary
    }


def boundaries(metrics: MetricsByKey) -> dict[BoundaryName, str]:
    """Return every boundary and what PROTOCOL.md calls it."""
    return {boundary: evaluation.boundary_name(of_model.metadata) for (_, _, boundary), of_model in metrics.items()}


def differences(models: Mapping[str, Metrics]) -> list[dict[str, Any]]:
    """Return the paired tests of every pair of models in one boundary, in JSON's types."""
    rows = pairing.differences({label: metrics.statistics for label, metrics in models.items()})
    return [to_json(row) for row in rows]


def to_json(row: Estimate | OverSeeds | pairing.Difference | pairing.SeedDifference) -> dict[str, Any]:
    """Return a row in JSON's types, which have no nan: what is undefined is null."""
    return {name: None if value != value else value for name, value in asdict(row).items()}


def _moves_survived(metrics: MetricsByKey, boundary: BoundaryName) -> dict[str, int]:
    """Return the moves that every model survives in all of its seeds."""
    accuracies = {
        model: [[accuracy.value for _, accuracy in of_seed.curves["x"]] for of_seed in seeds]
        for model, seeds in _seeds(metrics, boundary).items()
    }
    return {model: curves.moves_survived(np.array(rows)) for model, rows in accuracies.items()}


def _over_seeds(metrics: MetricsByKey) -> list[dict[str, Any]]:
    """Return every metric over each model's seeds; nothing where there is one seed."""
    names = boundaries(metrics)
    return [
        {
            "model": model,
            "boundary": names[boundary],
            "metrics": {key: to_json(over) for key, over in evaluation.over_seeds(seeds).items()},
        }
        for boundary in names
        for model, seeds in _seeds(metrics, boundary).items()
        if len(seeds) > 1
    ]


def _seed_differences(metrics: MetricsByKey, boundary: BoundaryName) -> list[dict[str, Any]]:
    """Return the tests of every pair of models over seeds; nothing where there is one seed."""
    by_model = _seeds(metrics, boundary)
    if min(map(len, by_model.values())) < 2:
        return []
    values = {
        model: {key: [of_seed.estimates[key].value for of_seed in seeds] for key in seeds[0].estimates}
        for model, seeds in by_model.items()
    }
    return [to_json(row) for row in pairing.differences_over_seeds(values)]


def _seeds(metrics: MetricsByKey, boundary: BoundaryName) -> dict[str, list[Metrics]]:
    by_model: dict[str, list[Metrics]] = {}
    for (model, _, of), of_seed in metrics.items():
        if of == boundary:
            by_model.setdefault(model, []).append(of_seed)
    return by_model
