from pathlib import Path

import numpy as np
import pytest

from shiftlab import evaluation
from shiftlab.evaluation import Figures
from tests.helpers import some_predictions


def some_figures() -> Figures:
    return evaluation.figures(some_predictions(), radius=1, phase=1)


def test_figures_are_those_of_the_predictions() -> None:
    found = some_figures()
    assert (found.images, found.grid_images, found.radius) == (4, 3, 1)
    assert {name: one.value for name, one in found.accuracies.items()} == {"right5": 0.75, "clean": 1.0}
    assert [(pixels, one.value) for pixels, one in found.fractions] == [(0.0, 1.0), (0.5, 0.5)]
    third = 1 / 3
    expected = [[2 * third] * 3, [third, 2 * third, 2 * third], [third] * 3]
    np.testing.assert_allclose(found.maps["accuracy"].value, expected)
    np.testing.assert_allclose(found.maps["ink"].value, [[0.2, 0.6, 0.4], [0.8, 1, 0.8], [0.6, 0.4, 0]])
    assert found.summary["grid"].value == np.mean(expected)
    assert found.summary["worst_case"].value == third
    assert found.summary["grid"].images == 3
    assert [at.accuracy.value for at in found.radii] == pytest.approx([2 * third, (np.sum(expected) - 2 * third) / 8])
    assert [one.image for one in found.fragility] == [3, 0]


def test_dvc_gets_a_line_for_each_image(tmp_path: Path) -> None:
    evaluation.write_confusions_for_dvc(some_predictions(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zero-clean.csv", "zero-right5.csv"]
    assert (tmp_path / "zero-right5.csv").read_text() == "actual,predicted\n1,1\n2,2\n3,3\n0,5\n"


def test_report_has_every_figure_as_table_and_picture(tmp_path: Path) -> None:
    evaluation.write_report(some_figures(), "mlp", 0, tmp_path)
    pictures = {"accuracy", "maps", "sensitivity", "radius", "classes", "phase", "fractions"}
    pictures |= {"confusion-clean", "confusion-right5"}
    tables = {f"accuracy-{direction}" for direction in ("x", "y", "diagonal")}
    tables |= {"confusion-clean", "confusion-right5", "per-class", "maps", "radius", "phase", "fractions"}
    tables |= {"summary", "sets", "fragility"}
    expected = {f"{name}.png" for name in pictures} | {f"{name}.csv" for name in tables} | {"about.json"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert all((tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in pictures)

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

    places = [line.split(",") for line in (tmp_path / "maps.csv").read_text().splitlines()]
    assert places[0][:3] == ["dx", "dy", "accuracy"]
    assert places[2][:2] == ["0", "-1"]
    assert len(places) == 1 + 9
    assert (tmp_path / "fragility.csv").read_text().splitlines() == [
        "image,digit,right,dx,dy,called",
        "3,0,0.2222222222222222,0,-1,7",
        "0,1,1.0,,,",
    ]
