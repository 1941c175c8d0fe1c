import json
from dataclasses import replace
from pathlib import Path

import pytest

from shiftlab import comparison, evaluation
from shiftlab.comparison import Answers, Found, Key
from tests.helpers import ABOUT, examples, some_predictions

KEYS: list[Key] = [
    ("mlp", 0, "zero"),
    ("lenet", 0, "zero"),
    ("mlp", 0, "circular"),
    ("lenet", 0, "circular"),
]


def answers(keys: list[Key] = KEYS) -> Answers:
    return {key: some_predictions(replace(ABOUT, regime=key[2])) for key in keys}


def found(keys: list[Key] = KEYS) -> Found:
    return {key: evaluation.figures(one, 1, 1) for key, one in answers(keys).items()}


def test_summary_holds_every_model_in_every_regime(tmp_path: Path) -> None:
    summary = comparison.summarise(answers(), found())
    tables = comparison.write_summary(summary, tmp_path / "comparison.json", tmp_path / "results.md")
    metrics = json.loads((tmp_path / "comparison.json").read_text())
    assert metrics == summary
    assert (metrics["data"], metrics["images"], metrics["grid_images"], metrics["radius"]) == ("digits", 4, 3, 1)
    assert [(entry["model"], entry["seed"], entry["regime"]) for entry in metrics["models"]] == KEYS
    assert metrics["models"][1]["figures"]["right5"]["value"] == 0.75
    assert metrics["over_seeds"] == []
    assert (tmp_path / "results.md").read_text() == f"# Results on digits\n\n{tables}"
    assert tables.count("75.00 [") == 2


def test_canvas_goes_by_its_name() -> None:
    on_canvas: Answers = {("mlp", 0, "zero"): some_predictions(replace(ABOUT, size=48))}
    summary = comparison.summarise(on_canvas, {key: evaluation.figures(one, 1, 1) for key, one in on_canvas.items()})
    assert summary["models"][0]["regime"] == "canvas"
    assert list(summary["differences"]) == ["canvas"]


def test_models_are_compared_within_a_regime() -> None:
    differences = comparison.summarise(answers(), found())["differences"]
    assert list(differences) == ["zero", "circular"]
    assert [(one["evaluation_set"], one["first"], one["second"]) for one in differences["zero"]] == [
        ("right5", "mlp", "lenet"),
        ("clean", "mlp", "lenet"),
    ]


def test_several_seeds_have_a_spread() -> None:
    keys: list[Key] = [("mlp", seed, "zero") for seed in (3, 1, 2)]
    summary = comparison.summarise(answers(keys), found(keys))
    (row,) = summary["over_seeds"]
    assert (row["model"], row["regime"]) == ("mlp", "zero")
    assert row["figures"]["right5"] == {"mean": 0.75, "spread": 0.0, "low": 0.75, "high": 0.75, "seeds": 3}
    assert summary["differences"] == {"zero": []}  # of the first seed's models, of which there is one


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ([("mlp", 0, "zero"), ("lenet", 0, "zero")], ["mlp", "lenet"]),
        ([("mlp", 0, "zero"), ("mlp", 1, "zero")], ["mlp seed 0", "mlp seed 1"]),
    ],
    ids=["one seed", "two seeds"],
)
def test_curves_hold_every_model_and_step(keys: list[Key], labels: list[str], tmp_path: Path) -> None:
    comparison.write_curves(found(keys), tmp_path)
    names = ["zero-diagonal.csv", "zero-x.csv", "zero-y.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    header, *lines = (tmp_path / "zero-x.csv").read_text().splitlines()
    assert header == "model,shift,accuracy,low,high,images"
    points = [tuple(line.split(",")[:3]) for line in lines]
    assert points == [(label, *point) for label in labels for point in (("-1", "0.75"), ("0", "0.0"), ("1", "0.0"))]


def test_every_figure_has_a_picture_and_images_stay_as_they_are() -> None:
    images = examples(4).images
    drawn = comparison.pictures(answers(), found(), images)
    kinds = ("accuracy", "maps", "sensitivity", "radius", "classes", "phase", "fractions", "confusion")
    expected = {f"{regime}-{kind}" for regime in ("zero", "circular") for kind in kinds}
    expected |= {f"{regime}-digits-{model}" for regime in ("zero", "circular") for model in ("mlp", "lenet")}
    assert set(drawn) == expected | {"image-0"}
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    assert images.equal(examples(4).images)
