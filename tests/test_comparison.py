import json
from pathlib import Path

import pytest

from shiftlab import comparison
from tests.helpers import examples, some_predictions


def test_metrics_hold_every_model_and_the_table_too(tmp_path: Path) -> None:
    answers = {("mlp", 0): some_predictions(), ("lenet", 0): some_predictions()}
    table = comparison.write_metrics(answers, tmp_path / "comparison.json", tmp_path / "results.md")
    metrics = json.loads((tmp_path / "comparison.json").read_text())
    assert (metrics["data"], metrics["images"]) == ("digits", 4)
    assert [(entry["model"], entry["seed"]) for entry in metrics["models"]] == [("mlp", 0), ("lenet", 0)]
    assert metrics["models"][1]["sets"]["right5"]["accuracy"] == 0.75
    assert (tmp_path / "results.md").read_text() == f"# Results on digits\n\n{table}"
    assert table.count("75.00 [") == 2


@pytest.mark.parametrize(
    ("chosen", "labels"),
    [([("mlp", 0), ("lenet", 0)], ["mlp", "lenet"]), ([("mlp", 0), ("mlp", 1)], ["mlp seed 0", "mlp seed 1"])],
    ids=["one seed", "two seeds"],
)
def test_curves_hold_every_model_and_step(chosen: list[tuple[str, int]], labels: list[str], tmp_path: Path) -> None:
    answers = {one: some_predictions() for one in chosen}
    comparison.write_curves(answers, 1, picture=tmp_path / "accuracy.png", folder=tmp_path / "curves")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "curves").iterdir()) == ["diagonal.csv", "x.csv", "y.csv"]
    header, *lines = (tmp_path / "curves" / "x.csv").read_text().splitlines()
    assert header == "model,shift,accuracy,low,high,images"
    points = [tuple(line.split(",")[:3]) for line in lines]
    assert points == [(label, *point) for label in labels for point in (("-1", "0.75"), ("0", "0.0"), ("1", "0.0"))]


def test_last_cell_is_a_picture_and_leaves_the_image_alone(tmp_path: Path) -> None:
    image = examples(1).images[0]
    comparison.write_last_cell({("mlp", 0): some_predictions()}, image, tmp_path / "image.png")
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")
    assert image.equal(examples(1).images[0])
