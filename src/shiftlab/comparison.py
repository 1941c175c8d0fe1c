"""All models side by side: one file of metrics, tables, pictures, and the report that holds them all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shiftlab import evaluation, files, plots, report, robustness
from shiftlab.evaluation import Figures
from shiftlab.params import RegimeName
from shiftlab.predictions import Predictions
from shiftlab.robustness import Fragility
from shiftlab.shifts import DIRECTIONS, shift

HEADLINE = ("clean", "right5", "random5", "consistency")
SHOWN = 10  # digits in each row of the gallery

# (model's name, seed, regime) -> its predictions, and its figures; all on the same data
Key = tuple[str, int, RegimeName]
Answers = Mapping[Key, Predictions]
Found = Mapping[Key, Figures]


def summarise(answers: Answers, found: Found) -> dict[str, Any]:
    """All numbers of the tables, in JSON's types: every model's, the models' differences, and those over seeds."""
    some = next(iter(found.values()))
    models = [
        {
            "model": model,
            "seed": seed,
            "regime": evaluation.regime_name(figures.about),
            "parameters": figures.about.parameters,
            "multiply_adds": figures.about.multiply_adds,
            "figures": evaluation.as_json(figures.accuracies | figures.summary),
        }
        for (model, seed, _), figures in found.items()
    ]
    return {
        "data": some.about.data,
        "size": some.about.size,
        "radius": some.radius,
        "worst_case_within": evaluation.worst_case_within(some.radius),
        "images": some.images,
        "grid_images": some.grid_images,
        "models": models,
        "differences": {name: _differences(answers, regime) for regime, name in _regimes(found).items()},
        "over_seeds": _over_seeds(found),
    }


def write_summary(summary: Mapping[str, Any], metrics: Path, results: Path) -> str:
    """The numbers as JSON and as tables in Markdown; returns the tables."""
    tables = report.tables(summary)
    files.write(metrics, json.dumps(summary, indent=2) + "\n")
    files.write(results, f"# Results on {summary['data']}\n\n{tables}")
    return tables


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
        model: {name: float(np.mean([figures[name] for figures in seeds])) for name in seeds[0]}
        for model, seeds in by_model.items()
    }
    best = max(means, key=lambda model: means[model]["random5"])
    return json.dumps({"best": best, **{name: round(means[best][name], 4) for name in HEADLINE}}, indent=2) + "\n"


def write_curves(found: Found, folder: Path) -> None:
    """Every model's accuracy against the shift, as a CSV for each regime and direction, for DVC's plots."""
    header = ["model", "shift", *evaluation.ACCURACY]
    for regime, name in _regimes(found).items():
        for direction in DIRECTIONS:
            rows = [
                (label, step, *astuple(one))
                for label, figures in of_regime(found, regime).items()
                for step, one in figures.curves[direction]
            ]
            files.write(folder / f"{name}-{direction}.csv", files.table(header, rows))


def pictures(answers: Answers, found: Found, images: Tensor) -> dict[str, bytes]:
    """Every picture of the report by name, as PNG; with several seeds, those of the first.

    Args:
        images: the test images, uint8 `(N, H, W)`.
    """
    first = first_seed(found)
    drawn: dict[str, bytes] = {}
    for regime, name in _regimes(found).items():
        models = of_regime(first, regime)
        drawn |= {f"{name}-{kind}": picture for kind, picture in evaluation.pictures(models).items()}
        drawn[f"{name}-confusion"] = plots.confusions(
            {label: {on: one.confusions[on] for on in ("clean", "right5")} for label, one in models.items()},
            f"regime {name}: confusion matrices, as they are and 5 pixels to the right",
        )
        for label, figures in models.items():
            drawn[f"{name}-digits-{label}"] = _gallery(figures, label, images)
    drawn["image-0"] = last_cell({key: answers[key] for key in first}, images[0])
    return drawn


def last_cell(answers: Answers, image: Tensor) -> bytes:
    """Test image 0, uint8 `(H, W)`, as it is and moved 5 pixels to the right, with each model's answers, as PNG."""
    some = next(iter(answers.values()))
    regime = some.about.regime
    captions = {"clean": "as it is", "right5": "5 pixels to the right"}
    called = {
        caption: {
            label: (int(of_model.sets[name].predicted[0]), float(of_model.sets[name].confidence[0]))
            for label, of_model in of_regime(answers, regime).items()
        }
        for name, caption in captions.items()
    }
    title = f"Test image 0 of {some.about.data}, a {some.labels[0]}: what each model calls it"
    moved = shift(image.unsqueeze(0), 5, 0, regime)[0]
    return plots.one_image({captions["clean"]: image.numpy(), captions["right5"]: moved.numpy()}, called, title)


def first_seed(by_key: Mapping[Key, Any]) -> dict[Key, Any]:
    """What belongs to the first seed."""
    first = next(iter(by_key))[1]
    return {key: value for key, value in by_key.items() if key[1] == first}


def of_regime(by_key: Mapping[Key, Any], regime: RegimeName) -> dict[str, Any]:
    """What belongs to a regime, by the model's label, which names the seed where there are several."""
    several = len({seed for _, seed, _ in by_key}) > 1
    return {
        f"{model} seed {seed}" if several else model: value
        for (model, seed, of), value in by_key.items()
        if of == regime
    }


def _regimes(found: Found) -> dict[RegimeName, str]:
    """Every regime and what PROTOCOL.md calls it."""
    return {regime: evaluation.regime_name(figures.about) for (_, _, regime), figures in found.items()}


def _differences(answers: Answers, regime: RegimeName) -> list[dict[str, Any]]:
    models = of_regime(first_seed(answers), regime)
    names = next(iter(models.values())).sets
    right: dict[str, dict[str, NDArray[np.bool_]]] = {
        name: {label: of_model.sets[name].predicted == of_model.labels for label, of_model in models.items()}
        for name in names
    }
    return [asdict(one) for one in robustness.differences(right)]


def _over_seeds(found: Found) -> list[dict[str, Any]]:
    """Nothing where there is one seed."""
    rows = []
    for model, regime in dict.fromkeys((model, regime) for model, _, regime in found):
        every = [one.accuracies | one.summary for (name, _, of), one in found.items() if (name, of) == (model, regime)]
        if len(every) > 1:
            over = {name: asdict(robustness.over_seeds([one[name].value for one in every])) for name in every[0]}
            rows.append({"model": model, "regime": _regimes(found)[regime], "figures": over})
    return rows


def _gallery(figures: Figures, label: str, images: Tensor) -> bytes:
    def shown(one: Fragility) -> tuple[NDArray[np.uint8], str]:
        image = images[one.image]
        caption = f"#{one.image}, a {one.digit}\n{one.right:.1%} right"
        if one.breaking is None:
            return image.numpy(), f"{caption}\nnever breaks"
        dx, dy, called = astuple(one.breaking)
        moved = shift(image.unsqueeze(0), dx, dy, figures.about.regime)[0]
        return moved.numpy(), f"{caption}\n({dx}, {dy}): {called}"

    rows = {
        "most fragile, at the nearest shift (dx, dy) that breaks each, and what it is called there": [
            shown(one) for one in figures.fragility[:SHOWN]
        ],
        "most robust": [shown(one) for one in figures.fragility[: -SHOWN - 1 : -1]],
    }
    return plots.gallery(
        rows, f"{label}, regime {evaluation.regime_name(figures.about)}: digits classified right unshifted"
    )
