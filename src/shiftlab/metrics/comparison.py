"""All models side by side: the numbers of every table, in JSON's types."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from shiftlab.config.params import BoundaryName
from shiftlab.metrics import evaluation, intervals, metrics
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate
from shiftlab.shifts.predictions import Predictions

HEADLINE = ("clean", "right5", "random5", "consistency")

# (model's name, seed, boundary) -> its predictions, and its metrics; all on the same data
Key = tuple[str, int, BoundaryName]
Answers = Mapping[Key, Predictions]
Found = Mapping[Key, Metrics]
T = TypeVar("T")


def summarise(answers: Answers, found: Found) -> dict[str, Any]:
    """All numbers of the tables, in JSON's types: every model's, the models' differences, and those over seeds."""
    some = next(iter(found.values()))
    models = [
        {
            "model": model,
            "seed": seed,
            "boundary": evaluation.boundary_name(one.about),
            "parameters": one.about.parameters,
            "multiply_adds": one.about.multiply_adds,
            "metrics": {name: _json(of) for name, of in (one.accuracies | one.summary).items()},
        }
        for (model, seed, _), one in found.items()
    ]
    return {
        "data": some.about.data,
        "shape": list(some.about.shape),
        "classes": len(some.about.classes),
        "radius": some.radius,
        "shifts": some.shifts,
        "robust_accuracy_within": evaluation.robust_accuracy_within(some.radius),
        "images": some.images,
        "grid_images": some.grid_images,
        "moves_survived": {name: _moves_survived(found, boundary) for boundary, name in boundaries(found).items()},
        "models": models,
        "differences": {name: _differences(answers, boundary) for boundary, name in boundaries(found).items()},
        "over_seeds": _over_seeds(found),
        "differences_over_seeds": {
            name: _seed_differences(found, boundary) for boundary, name in boundaries(found).items()
        },
    }


def headline(summary: Mapping[str, Any]) -> str:
    """The most robust model's row in `dvc exp show`, as JSON: in the first boundary, means over seeds.

    Every experiment has the same few columns, whichever models it is about. The most robust is right most often on
    `random5`.
    """
    boundary = summary["models"][0]["boundary"]
    by_model: dict[str, list[dict[str, float]]] = {}
    for one in summary["models"]:
        if one["boundary"] == boundary:
            by_model.setdefault(one["model"], []).append({key: of["value"] for key, of in one["metrics"].items()})
    means = {
        model: {name: float(np.mean([of_seed[name] for of_seed in seeds])) for name in HEADLINE}
        for model, seeds in by_model.items()
    }
    best = max(means, key=lambda model: means[model]["random5"])
    return json.dumps({"best": best, **{name: round(means[best][name], 4) for name in HEADLINE}}, indent=2) + "\n"


def first_seed(by_key: Mapping[Key, T]) -> dict[Key, T]:
    """What belongs to the first seed."""
    first = next(iter(by_key))[1]
    return {key: value for key, value in by_key.items() if key[1] == first}


def of_boundary(by_key: Mapping[Key, T], boundary: BoundaryName) -> dict[str, T]:
    """What belongs to a boundary, by the model's label, which names the seed where there are several."""
    several = len({seed for _, seed, _ in by_key}) > 1
    return {
        f"{model} seed {seed}" if several else model: value
        for (model, seed, of), value in by_key.items()
        if of == boundary
    }


def boundaries(found: Found) -> dict[BoundaryName, str]:
    """Every boundary and what PROTOCOL.md calls it."""
    return {boundary: evaluation.boundary_name(one.about) for (_, _, boundary), one in found.items()}


def _differences(answers: Answers, boundary: BoundaryName) -> list[dict[str, Any]]:
    models = of_boundary(first_seed(answers), boundary)
    names = next(iter(models.values())).sets
    right = {
        name: {label: of_model.sets[name].predicted == of_model.labels for label, of_model in models.items()}
        for name in names
    }
    return [asdict(one) for one in intervals.differences(right)]


def _moves_survived(found: Found, boundary: BoundaryName) -> dict[str, int]:
    """Of every model, over its seeds."""
    curves: dict[str, list[list[float]]] = {}
    for (model, _, of), one in found.items():
        if of == boundary:
            curves.setdefault(model, []).append([accuracy.value for _, accuracy in one.curves["x"]])
    return {model: metrics.moves_survived(np.array(of_seeds)) for model, of_seeds in curves.items()}


def _over_seeds(found: Found) -> list[dict[str, Any]]:
    """Nothing where there is one seed."""
    rows = []
    for model, boundary in dict.fromkeys((model, boundary) for model, _, boundary in found):
        every = [one for (name, _, of), one in found.items() if (name, of) == (model, boundary)]
        if len(every) > 1:
            over = {name: _json(one) for name, one in evaluation.over_seeds(every).items()}
            rows.append({"model": model, "boundary": boundaries(found)[boundary], "metrics": over})
    return rows


def _seed_differences(found: Found, boundary: BoundaryName) -> list[dict[str, Any]]:
    """On the named sets; nothing where there is one seed."""
    by_model: dict[str, list[Metrics]] = {}
    for (model, _, of), one in found.items():
        if of == boundary:
            by_model.setdefault(model, []).append(one)
    if min(map(len, by_model.values())) < 2:
        return []
    names = next(iter(by_model.values()))[0].accuracies
    values = {
        name: {model: [one.accuracies[name].value for one in seeds] for model, seeds in by_model.items()}
        for name in names
    }
    return [asdict(one) for one in intervals.differences_over_seeds(values)]


def _json(one: Estimate | intervals.OverSeeds) -> dict[str, float | None]:
    """In JSON's types, which have no nan: what is undefined is null."""
    return {name: None if value != value else value for name, value in asdict(one).items()}
