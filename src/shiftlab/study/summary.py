"""All numbers of the study, in JSON's types: every variant's metrics over seeds, and every claim's verdict."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any

import numpy as np

from shiftlab.config.params import Study
from shiftlab.metrics import registry
from shiftlab.metrics.comparison import to_json
from shiftlab.metrics.intervals import Estimate, OverSeeds, mean, over_seeds
from shiftlab.shifts.grids import line
from shiftlab.shifts.predictions import Predictions
from shiftlab.study import verdicts
from shiftlab.study.trials import Trials

ON_GRID = ("grid", "consistency", "corrected_consistency")  # what needs no probabilities
VARIANT = [
    *("architecture", "components", "augmentation", "canvas", "radius"),
    *("recipe", "lr", "batch_size", "epochs", "parameters", "multiply_adds"),
]


def summarise(study: Study, trials: Mapping[str, Trials]) -> dict[str, Any]:
    """Return the summary of all variants' trainings, which are by the variant's name."""
    first = next(iter(trials.values())).metadata
    variants = [
        {
            "variant": name,
            **{key: of_variant.metadata[key] for key in VARIANT},
            "validation": list(of_variant.validation.values()),
            "metrics": _metrics(of_variant),
        }
        for name, of_variant in trials.items()
    ]
    return {
        "data": first["data"],
        "data_md5": first["data_md5"],
        "seeds": study.seeds,
        "images": study.images,
        "shifts": study.shifts,
        "radius": study.radius,
        "variants": variants,
        "claims": _claims(study, variants),
        "made_on": {name: of_variant.metadata["made_on"] for name, of_variant in trials.items()},
    }


def decide_again(study: Study, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary of the study's variants with its claims decided from its own values, which needs no training.

    UserError: it lacks a metric of a variant that a claim asks for.
    """
    return {**summary, "claims": _claims(study, summary["variants"])}


def measure(predictions: Predictions) -> dict[str, Estimate]:
    """Return all metrics of one training in one boundary mode, by key; PROTOCOL.md, "Study"."""
    radius = int(np.abs(predictions.grid.shifts.astype(int)).max())
    statistics = registry.measure(predictions, radius)
    return {
        **{key: of.estimate for key, of in statistics.items() if key in predictions.sets or key in ON_GRID},
        **_by_distance(predictions),
    }


def _by_distance(predictions: Predictions) -> dict[str, Estimate]:
    """Return accuracy by the distance along both axes, either way, mean over the four directions."""
    radius, labels = int(predictions.line_shifts.max()), predictions.grid_labels
    right = np.stack([predictions.along(line(direction, radius)) == labels for direction in ("x", "y")])
    both = (right[:, radius:] + right[:, radius::-1].astype(float)).sum(axis=0) / 4  # (radius + 1, M)
    return {f"distance {distance}": mean(values) for distance, values in enumerate(both)}


def _metrics(trials: Trials) -> dict[str, dict[str, Any]]:
    """Return a variant's metrics over seeds, by boundary and key. On a canvas, `zero` is called `canvas`."""
    names = {"zero": "canvas"} if trials.metadata["canvas"] else {}
    estimates: dict[str, dict[str, list[Estimate]]] = {}
    for (_, boundary), predictions in trials.predictions.items():
        of_boundary = estimates.setdefault(names.get(boundary, boundary), {})
        for metric, estimate in measure(predictions).items():
            of_boundary.setdefault(metric, []).append(estimate)
    return {
        boundary: {metric: _over_seeds(of_seeds) for metric, of_seeds in of_boundary.items()}
        for boundary, of_boundary in estimates.items()
    }


def _over_seeds(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return mean, its t-interval over seeds, and half of the images' interval's width, mean over seeds."""
    values = [estimate.value for estimate in estimates]
    images = float(np.mean([(estimate.high - estimate.low) / 2 for estimate in estimates]))
    over = over_seeds(values) if len(values) > 1 else OverSeeds(values[0], nan, nan, nan, 1)
    numbers = {"mean": over.mean, "low": over.low, "high": over.high, "images": images}
    return {"values": [None if isnan(value) else value for value in values], **to_json(numbers)}


def _claims(study: Study, variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every claim's verdict, from the variants' values in each training."""
    values = {
        (variant["variant"], metric, boundary): [nan if value is None else value for value in over["values"]]
        for variant in variants
        for boundary, of_boundary in variant["metrics"].items()
        for metric, over in of_boundary.items()
    }
    return [
        {
            "claim": key,
            "says": study.claims[key].says,
            "by": study.claims[key].by,
            "verdict": verdicts.claim_verdict(results),
            "contrasts": [
                {
                    **result.contrast.model_dump(exclude={"beyond"}),
                    "larger_than": list(result.larger_than) if result.larger_than else None,
                    **to_json(vars(result.effect)),
                    "p_holm": result.p_holm,
                    "verdict": result.verdict,
                }
                for result in results
            ],
        }
        for key, results in verdicts.decide(study.claims, values).items()
    ]
