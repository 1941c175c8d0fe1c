from pathlib import Path

import pytest

from shiftlab.metrics import comparison, evaluation
from shiftlab.metrics.comparison import Key
from shiftlab.metrics.evaluation import Metrics
from shiftlab.reports import tables
from tests.helpers import some_predictions
from tests.metrics.test_comparison import found


def some_metrics() -> Metrics:
    return evaluation.evaluate(some_predictions(), radius=1, phase=1)


def test_dvc_gets_a_line_for_each_image(tmp_path: Path) -> None:
    tables.write_confusions_for_dvc(some_predictions(), tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3-zero-clean.csv", "3-zero-right5.csv"]
    assert (tmp_path / "3-zero-right5.csv").read_text() == "actual,predicted\n1,1\n2,2\n3,3\n0,5\n"


def test_report_has_every_metric_as_table_and_picture(tmp_path: Path) -> None:
    tables.write_report(some_metrics(), "mlp", 0, tmp_path)
    pictures = {"accuracy", "maps", "sensitivity", "radius", "classes", "phase", "fractions"}
    pictures |= {"confusion-clean", "confusion-right5"}
    sheets = {f"accuracy-{direction}" for direction in ("x", "y", "diagonal")}
    sheets |= {"confusion-clean", "confusion-right5", "per-class", "maps", "radius", "phase", "fractions"}
    sheets |= {"metrics", "nearest_failing_shift"}
    expected = {f"{name}.png" for name in pictures} | {f"{name}.csv" for name in sheets} | {"about.json"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert all((tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in pictures)

    header, *steps = (tmp_path / "accuracy-x.csv").read_text().splitlines()
    assert header == "shift,accuracy,low,high,images"
    assert [line.split(",")[:2] for line in steps] == [["-1", str(2 / 3)], ["0", "0.0"], ["1", "0.0"]]

    confusion = [line.split(",") for line in (tmp_path / "confusion-right5.csv").read_text().splitlines()]
    assert confusion[0][:2] == ["actual", "predicted 0"]
    assert [line[0] for line in confusion[1:]] == [str(digit) for digit in range(10)]
    assert confusion[1] == ["0", *"0000010000"]

    scores = (tmp_path / "per-class.csv").read_text().splitlines()
    assert scores[0] == "set,class,precision,recall,f1,images"
    assert len(scores) == 1 + 2 * 10
    assert "right5,0,0.0,0.0,0.0,1" in scores
    assert "clean,0,1.0,1.0,1.0,1" in scores

    places = [line.split(",") for line in (tmp_path / "maps.csv").read_text().splitlines()]
    assert places[0][:3] == ["dx", "dy", "accuracy"]
    assert places[2][:2] == ["0", "-1"]
    assert len(places) == 1 + 9
    assert (tmp_path / "nearest_failing_shift.csv").read_text().splitlines() == [
        "image,class,accuracy,dx,dy,predicted",
        "3,0,0.2222222222222222,0,-1,7",
        "0,1,1.0,,,",
    ]


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ([("mlp", 0, "zero"), ("lenet", 0, "zero")], ["mlp", "lenet"]),
        ([("mlp", 0, "zero"), ("mlp", 1, "zero")], ["mlp seed 0", "mlp seed 1"]),
    ],
    ids=["one seed", "two seeds"],
)
def test_curves_hold_every_model_and_step(keys: list[Key], labels: list[str], tmp_path: Path) -> None:
    tables.write_curves(comparison.of_boundary(found(keys), "zero"), "zero", tmp_path)
    names = ["zero-diagonal.csv", "zero-x.csv", "zero-y.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    header, *lines = (tmp_path / "zero-x.csv").read_text().splitlines()
    assert header == "model,shift,accuracy,low,high,images"
    points = [tuple(line.split(",")[:3]) for line in lines]
    assert points == [(label, *point) for label in labels for point in (("-1", str(2 / 3)), ("0", "0.0"), ("1", "0.0"))]
