"""All models side by side: the numbers of every table, in JSON's types."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from shiftlab.config.params import BoundaryName
from shiftlab.metrics import curves, pairing
from shiftlab.metrics.evaluation import Metrics, boundary_name
from shiftlab.metrics.intervals import over_seeds
from shiftlab.shifts.grids import ANCHOR_RADIUS
from shiftlab.shifts.predictions import Predictions

HEADLINE = ("clean", "right5", "random5", "consistency")

# (model's name, seed, boundary) -> its predictions, and its metrics; all on the same data
Key = tuple[str, int, BoundaryName]
PredictionsByKey = Mapping[Key, Predictions]
MetricsByKey = Mapping[Key, Metrics]
T = TypeVar("T")


def summarise(metrics: MetricsByKey) -> dict[str, Any]:
    """Return all numbers of the tables, in JSON's types: every model's, the models' differences, those over seeds.

    Those over seeds are empty where there is one. The differences are of the first seed's models, `differences_seed`.
    """
    first = next(iter(metrics.values()))
    seeds: dict[str, dict[str, list[Metrics]]] = {}  # by boundary and model
    for (model, _, _), metrics_of_seed in metrics.items():
        seeds.setdefault(boundary_name(metrics_of_seed.metadata), {}).setdefault(model, []).append(metrics_of_seed)
    return {
        "data": first.metadata.data,
        "shape": list(first.metadata.shape),
        "classes": len(first.metadata.classes),
        "radius": first.radius,
        "shifts": first.shifts,
        "robust_accuracy_within": min(ANCHOR_RADIUS, first.radius),
        "images": first.images,
        "grid_images": first.grid_images,
        "moves_survived": {
            boundary: {model: _moves_survived(of_model) for model, of_model in models.items()}
            for boundary, models in seeds.items()
        },
        "models": [
            {
                "model": model,
                "seed": seed,
                "boundary": boundary_name(of_seed.metadata),
                "parameters": of_seed.metadata.parameters,
                "multiply_adds": of_seed.metadata.multiply_adds,
                "metrics": {key: to_json(vars(estimate)) for key, estimate in of_seed.estimates.items()},
            }
            for (model, seed, _), of_seed in metrics.items()
        ],
        "differences_seed": next(iter(metrics))[1],
        "differences": {
            boundary: differences({model: of_model[0] for model, of_model in models.items()})
            for boundary, models in seeds.items()
        },
        "over_seeds": [
            {
                "model": model,
                "boundary": boundary,
                "metrics": {key: to_json(vars(over_seeds(values))) for key, values in _values(of_model).items()},
            }
            for boundary, models in seeds.items()
            for model, of_model in models.items()
            if len(of_model) > 1
        ],
        "differences_over_seeds": {
            boundary: _differences_over_seeds(models) if min(map(len, models.values())) > 1 else []
            for boundary, models in seeds.items()
        },
    }


def headline(summary: Mapping[str, Any]) -> str:
    """Return the most robust model's row in `dvc exp show`, as JSON: in the first boundary, means over seeds.

    Every experiment has the same few columns, whichever models it is about. The most robust is right most often on
    `random5`.
    """
    boundary = summary["models"][0]["boundary"]
    seeds: dict[str, list[list[float]]] = {}
    for entry in summary["models"]:
        if entry["boundary"] == boundary:
            values = [entry["metrics"][key]["value"] for key in HEADLINE]
            seeds.setdefault(entry["model"], []).append(values)
    means = {
        model: dict(zip(HEADLINE, np.mean(values, axis=0).tolist(), strict=True)) for model, values in seeds.items()
    }
    best = max(means, key=lambda model: means[model]["random5"])
    return json.dumps({"best": best, **{key: round(value, 4) for key, value in means[best].items()}}, indent=2) + "\n"


def first_seed(by_key: Mapping[Key, T]) -> dict[Key, T]:
    """Return what belongs to the first seed."""
    first = next(iter(by_key))[1]
    return {key: value for key, value in by_key.items() if key[1] == first}


def of_boundary(by_key: Mapping[Key, T], boundary: BoundaryName) -> dict[str, T]:
    """Return what belongs to a boundary, by the model's label, which names the seed where there are several."""
    seeds = {seed for _, seed, _ in by_key}
    return {
        model if len(seeds) == 1 else f"{model} seed {seed}": value
        for (model, seed, mode), value in by_key.items()
        if mode == boundary
    }


def boundaries(metrics: MetricsByKey) -> dict[BoundaryName, str]:
    """Return every boundary and what PROTOCOL.md calls it."""
    return {boundary: boundary_name(of_model.metadata) for (_, _, boundary), of_model in metrics.items()}


def differences(models: Mapping[str, Metrics]) -> list[dict[str, Any]]:
    """Return the paired tests of every pair of models in one boundary, in JSON's types."""
    rows = pairing.differences({label: metrics.statistics for label, metrics in models.items()})
    return [to_json(vars(row)) for row in rows]


def to_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in JSON's types, which have no nan: what is undefined is null."""
    return {name: None if value != value else value for name, value in row.items()}


def _moves_survived(seeds: Sequence[Metrics]) -> int:
    """Return the moves that a model survives in all of its seeds."""
    return curves.moves_survived(np.array([[at.value for _, at in of_seed.curves["x"]] for of_seed in seeds]))


def _values(seeds: Sequence[Metrics]) -> dict[str, list[float]]:
    """Return every metric's value in each seed, by key."""
    return {key: [of_seed.estimates[key].value for of_seed in seeds] for key in seeds[0].estimates}


def _differences_over_seeds(models: Mapping[str, Sequence[Metrics]]) -> list[dict[str, Any]]:
    rows = pairing.differences_over_seeds({model: _values(of_model) for model, of_model in models.items()})
    return [to_json(vars(row)) for row in rows]
