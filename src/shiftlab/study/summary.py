"""All numbers of the study, in JSON's types: every variant's metrics over seeds, and every claim's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import nan
from typing import Any

import numpy as np

from shiftlab.config.params import Study, Variant
from shiftlab.metrics import registry
from shiftlab.metrics.intervals import Estimate, OverSeeds, mean, over_seeds
from shiftlab.shifts.predictions import GridPredictions, PredictionMetadata, Predictions, SetPredictions
from shiftlab.study import verdicts
from shiftlab.study.answers import Answers, Trials

ON_GRID = ("grid", "consistency", "corrected_consistency")  # what needs no probabilities

Found = dict[str, dict[str, list[Estimate]]]  # by boundary and metric, one for each seed


def summarise(study: Study, trials: Mapping[str, Trials]) -> dict[str, Any]:
    """Of all variants' trainings, by the variant's name."""
    some = next(iter(trials.values())).about
    measured = {name: _metrics(one, study.every[name]) for name, one in trials.items()}
    variants = [
        {
            "variant": name,
            **{key: one.about[key] for key in ("architecture", "components", "augmentation", "canvas", "radius")},
            **{key: one.about[key] for key in ("recipe", "lr", "batch_size", "epochs", "parameters", "multiply_adds")},
            "validation": [float(one.answers[key].validation) for key in one.answers if key[1] == "zero"],
            "metrics": {
                boundary: {metric: _over_seeds(estimates) for metric, estimates in of_metrics.items()}
                for boundary, of_metrics in measured[name].items()
            },
        }
        for name, one in trials.items()
    ]
    return {
        "data": some["data"],
        "data_md5": some["data_md5"],
        "seeds": study.seeds,
        "images": study.images,
        "shifts": study.shifts,
        "radius": study.radius,
        "variants": variants,
        "claims": _claims(study, variants),
        "made_on": {name: one.about["made_on"] for name, one in trials.items()},
    }


def decide_again(study: Study, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Decide the study's claims from a summary's own values, which needs no training.

    Args:
        summary: of the study's variants, perhaps with other claims.

    Raises:
        UserError: it lacks a metric of a variant that a claim asks for.
    """
    return {**summary, "claims": _claims(study, summary["variants"])}


def measure(answers: Answers) -> dict[str, Estimate]:
    """Return all metrics of one training in one boundary, by key; PROTOCOL.md, "Study"."""
    radius = int(np.abs(answers.grid_shifts.astype(int)).max())
    statistics = registry.measure(_predictions(answers), radius)
    labels = answers.labels[answers.images]
    distance = np.abs(answers.axis_shifts.astype(int)).sum(axis=1)
    right = answers.on_axes == labels
    return {
        **{key: one.estimate for key, one in statistics.items() if key in answers.sets or key in ON_GRID},
        **{f"distance {at}": mean(right[distance == at].mean(axis=0)) for at in np.unique(distance)},
    }


def _predictions(answers: Answers) -> Predictions:
    """Return the answers as predictions, in which probabilities are missing."""
    missing = np.zeros(answers.on_grid.shape, dtype=np.float16)
    grid = GridPredictions(
        answers.images, answers.grid_shifts, answers.on_grid, missing, missing, missing, missing.astype(np.int32)
    )
    images = len(answers.labels)
    sets = {
        name: SetPredictions(np.zeros((images, 2), np.int8), predicted, np.zeros(images, np.float32))
        for name, predicted in answers.sets.items()
    }
    return Predictions(
        PredictionMetadata("", "", (), "", (0, 0, 0), False, "zero", 0, 0),
        answers.labels,
        sets,
        np.zeros((0, 2), np.int8),
        np.zeros((0, images), answers.labels.dtype),
        np.zeros(0, np.float32),
        np.zeros((0, images), answers.labels.dtype),
        grid,
    )


def _metrics(trials: Trials, variant: Variant) -> Found:
    """On a canvas, `zero` is called `canvas`."""
    names = {"zero": "canvas"} if variant.canvas else {}
    of_boundaries: Found = {}
    for (_, boundary), answers in trials.answers.items():
        for metric, estimate in measure(answers).items():
            of_boundaries.setdefault(names.get(boundary, boundary), {}).setdefault(metric, []).append(estimate)
    return of_boundaries


def _over_seeds(estimates: list[Estimate]) -> dict[str, Any]:
    """Mean, its t-interval over seeds, and half of the images' interval's width, mean over seeds."""
    values = [one.value for one in estimates]
    images = float(np.mean([(one.high - one.low) / 2 for one in estimates]))
    over = over_seeds(values) if len(values) > 1 else OverSeeds(values[0], nan, nan, nan, 1)
    return _without_nan({"values": values, "mean": over.mean, "low": over.low, "high": over.high, "images": images})


def _claims(study: Study, variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every claim's verdict, from the variants' values in each training."""
    values = {
        (variant["variant"], metric, boundary): [nan if value is None else value for value in one["values"]]
        for variant in variants
        for boundary, of_metrics in variant["metrics"].items()
        for metric, one in of_metrics.items()
    }
    return [_claim(answer) for answer in verdicts.decide(study.claims, values)]


def _claim(answer: verdicts.Answer) -> dict[str, Any]:
    return {
        "claim": answer.key,
        "says": answer.claim.says,
        "by": answer.claim.by,
        "verdict": answer.verdict,
        "contrasts": [
            {
                **one.contrast.model_dump(exclude={"beyond"}),
                "larger_than": list(one.larger_than) if one.larger_than else None,
                **_without_nan(asdict(one.effect)),
                "p_holm": one.p_holm,
                "verdict": one.verdict,
            }
            for one in answer.decided
        ],
    }


def _without_nan(numbers: dict[str, Any]) -> dict[str, Any]:
    """In JSON's types, which have no nan: what is undefined is null."""

    def defined(value: Any) -> Any:
        return [defined(one) for one in value] if isinstance(value, list) else None if value != value else value

    return {name: defined(value) for name, value in numbers.items()}
