"""All models side by side: the numbers of every table, in JSON's types."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from shiftlab.measure import evaluation, figures, intervals
from shiftlab.measure.evaluation import Figures
from shiftlab.measure.intervals import Estimate
from shiftlab.measure.predictions import Predictions
from shiftlab.params import RegimeName

HEADLINE = ("clean", "right5", "random5", "consistency")

# (model's name, seed, regime) -> its predictions, and its figures; all on the same data
Key = tuple[str, int, RegimeName]
Answers = Mapping[Key, Predictions]
Found = Mapping[Key, Figures]
T = TypeVar("T")


def summarise(answers: Answers, found: Found) -> dict[str, Any]:
    """All numbers of the tables, in JSON's types: every model's, the models' differences, and those over seeds."""
    some = next(iter(found.values()))
    models = [
        {
            "model": model,
            "seed": seed,
            "regime": evaluation.regime_name(one.about),
            "parameters": one.about.parameters,
            "multiply_adds": one.about.multiply_adds,
            "figures": {name: _json(of) for name, of in (one.accuracies | one.summary).items()},
        }
        for (model, seed, _), one in found.items()
    ]
    return {
        "data": some.about.data,
        "shape": list(some.about.shape),
        "classes": len(some.about.classes),
        "radius": some.radius,
        "shifts": some.shifts,
        "worst_case_within": evaluation.worst_case_within(some.radius),
        "images": some.images,
        "grid_images": some.grid_images,
        "moves_survived": {name: _moves_survived(found, regime) for regime, name in regimes(found).items()},
        "models": models,
        "differences": {name: _differences(answers, regime) for regime, name in regimes(found).items()},
        "over_seeds": _over_seeds(found),
        "differences_over_seeds": {name: _seed_differences(found, regime) for regime, name in regimes(found).items()},
    }


def headline(summary: Mapping[str, Any]) -> str:
    """The most robust model's row in `dvc exp show`, as JSON: in the first regime, means over seeds.

    Every experiment has the same few columns, whichever models it is about. The most robust is right most often on
    `random5`.
    """
    regime = summary["models"][0]["regime"]
    by_model: dict[str, list[dict[str, float]]] = {}
    for one in summary["models"]:
        if one["regime"] == regime:
            by_model.setdefault(one["model"], []).append({key: of["value"] for key, of in one["figures"].items()})
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


def of_regime(by_key: Mapping[Key, T], regime: RegimeName) -> dict[str, T]:
    """What belongs to a regime, by the model's label, which names the seed where there are several."""
    several = len({seed for _, seed, _ in by_key}) > 1
    return {
        f"{model} seed {seed}" if several else model: value
        for (model, seed, of), value in by_key.items()
        if of == regime
    }


def regimes(found: Found) -> dict[RegimeName, str]:
    """Every regime and what PROTOCOL.md calls it."""
    return {regime: evaluation.regime_name(one.about) for (_, _, regime), one in found.items()}


def _differences(answers: Answers, regime: RegimeName) -> list[dict[str, Any]]:
    models = of_regime(first_seed(answers), regime)
    names = next(iter(models.values())).sets
    right = {
        name: {label: of_model.sets[name].predicted == of_model.labels for label, of_model in models.items()}
        for name in names
    }
    return [asdict(one) for one in intervals.differences(right)]


def _moves_survived(found: Found, regime: RegimeName) -> dict[str, int]:
    """Of every model, over its seeds."""
    curves: dict[str, list[list[float]]] = {}
    for (model, _, of), one in found.items():
        if of == regime:
            curves.setdefault(model, []).append([accuracy.value for _, accuracy in one.curves["x"]])
    return {model: figures.moves_survived(np.array(of_seeds)) for model, of_seeds in curves.items()}


def _over_seeds(found: Found) -> list[dict[str, Any]]:
    """Nothing where there is one seed."""
    rows = []
    for model, regime in dict.fromkeys((model, regime) for model, _, regime in found):
        every = [one for (name, _, of), one in found.items() if (name, of) == (model, regime)]
        if len(every) > 1:
            over = {name: _json(one) for name, one in evaluation.over_seeds(every).items()}
            rows.append({"model": model, "regime": regimes(found)[regime], "figures": over})
    return rows


def _seed_differences(found: Found, regime: RegimeName) -> list[dict[str, Any]]:
    """On the named sets; nothing where there is one seed."""
    by_model: dict[str, list[Figures]] = {}
    for (model, _, of), one in found.items():
        if of == regime:
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
