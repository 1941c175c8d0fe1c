import json
from pathlib import Path

from shiftlab import evaluation
from tests.helpers import some_predictions


def test_metrics_are_the_accuracy_on_each_set(tmp_path: Path) -> None:
    evaluation.write_metrics(evaluation.figures(some_predictions(), 1), "digits", tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"data": "digits", "right5": 0.75, "clean": 1.0}


def test_dvc_gets_a_line_for_each_image(tmp_path: Path) -> None:
    evaluation.write_confusions_for_dvc(some_predictions(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.csv", "right5.csv"]
    assert (tmp_path / "right5.csv").read_text() == "actual,predicted\n1,1\n2,2\n3,3\n0,5\n"


def test_report_has_every_figure_as_table_and_picture(tmp_path: Path) -> None:
    evaluation.write_report(evaluation.figures(some_predictions(), 1), "mlp", 0, "digits", tmp_path)
    pictures = {"accuracy.png", "confusion-clean.png", "confusion-right5.png"}
    tables = {f"accuracy-{direction}.csv" for direction in ("x", "y", "diagonal")}
    tables |= {"confusion-clean.csv", "confusion-right5.csv", "per-class.csv"}
    assert {path.name for path in tmp_path.iterdir()} == pictures | tables
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)

    header, *steps = (tmp_path / "accuracy-x.csv").read_text().splitlines()
    assert header == "shift,accuracy,low,high,images"
    assert [line.split(",")[:2] for line in steps] == [["-1", "0.75"], ["0", "0.0"], ["1", "0.0"]]

    confusion = [line.split(",") for line in (tmp_path / "confusion-right5.csv").read_text().splitlines()]
    assert confusion[0][:2] == ["actual", "predicted 0"]
    assert [line[0] for line in confusion[1:]] == [str(digit) for digit in range(10)]
    assert confusion[1] == ["0", *"0000010000"]

    scores = (tmp_path / "per-class.csv").read_text().splitlines()
    assert scores[0] == "set,digit,precision,recall,f1,images"
    assert len(scores) == 1 + 2 * 10
    assert "right5,0,0.0,0.0,0.0,1" in scores
    assert "clean,0,1.0,1.0,1.0,1" in scores
