import json
from dataclasses import replace

from shiftlab.metrics import comparison, evaluation
from shiftlab.metrics.comparison import Key, MetricsByKey, PredictionsByKey
from shiftlab.metrics.intervals import Estimate
from tests.helpers import ABOUT, some_predictions

KEYS: list[Key] = [
    ("mlp", 0, "zero"),
    ("lenet", 0, "zero"),
    ("mlp", 0, "circular"),
    ("lenet", 0, "circular"),
]


def answers(keys: list[Key] = KEYS) -> PredictionsByKey:
    return {key: some_predictions(replace(ABOUT, boundary=key[2])) for key in keys}


def found(keys: list[Key] = KEYS) -> MetricsByKey:
    return {key: evaluation.evaluate(one, 1, 1) for key, one in answers(keys).items()}


def test_summary_holds_every_model_in_every_boundary_in_jsons_types() -> None:
    summary = comparison.summarise(found())
    metrics = json.loads(json.dumps(summary, allow_nan=False))
    assert metrics == json.loads(json.dumps(summary)) == {**summary, "models": metrics["models"]}
    assert (metrics["data"], metrics["images"], metrics["grid_images"], metrics["radius"]) == ("digits", 4, 3, 1)
    assert [(entry["model"], entry["seed"], entry["boundary"]) for entry in metrics["models"]] == KEYS
    assert metrics["models"][1]["metrics"]["right5"]["value"] == 0.75
    assert metrics["over_seeds"] == []


def test_summary_says_how_far_each_model_survives_in_each_boundary() -> None:
    curves = {"x": [(-1, 0.95), (0, 1.0), (1, 0.9)], "y": [(-1, 0.1), (0, 1.0), (1, 0.1)]}
    as_estimates = {
        name: [(step, Estimate(value, 0.0, 1.0, 4)) for step, value in steps] for name, steps in curves.items()
    }
    every = {
        key: replace(one, curves=as_estimates) if key == ("mlp", 0, "zero") else one for key, one in found().items()
    }
    moves = comparison.summarise(every)["moves_survived"]
    assert moves["zero"]["mlp"] == 1
    assert set(moves) == {"zero", "circular"}
    assert set(moves["circular"]) == {"mlp", "lenet"}


def test_canvas_goes_by_its_name() -> None:
    on_canvas: PredictionsByKey = {("mlp", 0, "zero"): some_predictions(replace(ABOUT, canvas=True))}
    summary = comparison.summarise({key: evaluation.evaluate(one, 1, 1) for key, one in on_canvas.items()})
    assert summary["models"][0]["boundary"] == "canvas"
    assert list(summary["differences"]) == ["canvas"]


def test_models_are_compared_within_a_boundary() -> None:
    summary = comparison.summarise(found())
    differences = summary["differences"]
    assert list(differences) == ["zero", "circular"]
    keys = list(summary["models"][0]["metrics"])
    assert [(one["metric"], one["first"], one["second"]) for one in differences["zero"]] == [
        (key, "mlp", "lenet") for key in keys
    ]
    assert {"right5", "clean", "robust_accuracy_1", "consistency"} < set(keys)


def test_several_seeds_have_a_spread() -> None:
    keys: list[Key] = [("mlp", seed, "zero") for seed in (3, 1, 2)]
    summary = comparison.summarise(found(keys))
    (row,) = summary["over_seeds"]
    assert (row["model"], row["boundary"]) == ("mlp", "zero")
    assert row["metrics"]["right5"] == {"mean": 0.75, "spread": 0.0, "low": 0.75, "high": 0.75, "seeds": 3}
    assert summary["differences"] == {"zero": []}  # of the first seed's models, of which there is one
    assert summary["differences_over_seeds"] == {"zero": []}


def test_models_are_compared_over_seeds() -> None:
    keys: list[Key] = [(model, seed, "zero") for model in ("mlp", "lenet") for seed in (0, 1)]
    rows = comparison.summarise(found(keys))["differences_over_seeds"]["zero"]
    assert [(one["metric"], one["first"], one["second"]) for one in rows] == [
        (key, "mlp", "lenet") for key in found(keys)["mlp", 0, "zero"].estimates
    ]
    undefined = {one["metric"] for one in rows if one["difference"] is None}
    assert undefined == {"consistency_by_chance", "corrected_consistency"}  # classes of one image
    assert {one["difference"] for one in rows if one["metric"] not in undefined} == {0.0}


def test_row_of_an_experiment_is_the_most_robust_models() -> None:
    summary = comparison.summarise(found())
    for one in summary["models"]:
        better = 0.1 * (one["model"] == "lenet")
        one["metrics"]["random5"] = {"value": 0.5 + better}
    row = json.loads(comparison.headline(summary))
    assert row["best"] == "lenet"
    assert row["random5"] == 0.6
    assert set(row) == {"best", *comparison.HEADLINE}
