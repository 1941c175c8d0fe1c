"""All numbers of the study, in JSON's types: every variant's metrics over seeds, and every claim's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import nan
from typing import Any

import numpy as np

from shiftlab.config.params import Study, Variant
from shiftlab.metrics import registry
from shiftlab.metrics.intervals import Estimate, OverSeeds, mean, over_seeds
from shiftlab.shifts.grids import line
from shiftlab.shifts.predictions import Predictions
from shiftlab.study import verdicts
from shiftlab.study.trials import Trials

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
            "validation": list(one.validation.values()),
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


def measure(predictions: Predictions) -> dict[str, Estimate]:
    """Return all metrics of one training in one boundary mode, by key; PROTOCOL.md, "Study"."""
    radius = int(np.abs(predictions.grid.shifts.astype(int)).max())
    statistics = registry.measure(predictions, radius)
    return {
        **{key: one.estimate for key, one in statistics.items() if key in predictions.sets or key in ON_GRID},
        **_by_distance(predictions),
    }


def _by_distance(predictions: Predictions) -> dict[str, Estimate]:
    """Compute accuracy by the distance along both axes, either way, mean over the four directions."""
    radius, labels = int(predictions.line_shifts.max()), predictions.grid_labels
    right = np.stack([predictions.along(line(direction, radius)) == labels for direction in ("x", "y")])
    both = (right[:, radius:] + right[:, radius::-1].astype(float)).sum(axis=0) / 4  # (radius + 1, M)
    return {f"distance {distance}": mean(values) for distance, values in enumerate(both)}


def _metrics(trials: Trials, variant: Variant) -> Found:
    """On a canvas, `zero` is called `canvas`."""
    names = {"zero": "canvas"} if variant.canvas else {}
    of_boundaries: Found = {}
    for (_, boundary), predictions in trials.predictions.items():
        for metric, estimate in measure(predictions).items():
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
