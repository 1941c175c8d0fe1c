"""The pipeline on a folder of somebody's own pictures: in colour, not square, with names for classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from shiftlab.errors import UserError
from shiftlab.pipeline import download, predict, train
from tests import stages
from tests.project import Project

CLASSES = ["a flower", "a temple", "its roof"]
HEIGHT, WIDTH = 44, 48


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Crops of the two photographs that scikit-learn carries, of the second from two places, 24 each."""
    temple, flower = load_sample_images().images
    rng = np.random.default_rng(0)
    for name, photograph in zip(CLASSES, (flower[100:300], temple[200:], temple[:200]), strict=True):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(24):
            top, left = (
                int(rng.integers(0, side - part))
                for side, part in zip(photograph.shape[:2], (HEIGHT, WIDTH), strict=True)
            )
            crop = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
            crop.save(folder / f"{number:02}.{'png' if number % 2 else 'jpg'}")
    return tmp_path / "pictures"


@pytest.mark.usefixtures("undrawn")
def test_coloured_pictures_are_learned_and_measured(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = ["data=folder", f"data.path={pictures}", "data.frame=[28,32]", "evaluation.boundaries=[zero,crop]"]
    choices += ["evaluation.radius=5", "evaluation.shifts=30", "model=lenet"]
    with stages.workspace(tmp_path):
        stages.run(stages.config(tmp_path, *choices))
    assert "28x28" not in capsys.readouterr().out
    comparison = json.loads((tmp_path / "metrics/comparison.json").read_bytes())
    assert comparison["data"] == "folder"
    assert (comparison["shape"], comparison["classes"], comparison["shifts"]) == ([3, 28, 32], 3, 72)
    assert comparison["images"] == 15
    clean = {entry["boundary"]: entry["metrics"]["clean"]["value"] for entry in comparison["models"]}
    assert list(clean) == ["zero", "crop"]
    assert clean["zero"] == clean["crop"]
    report = (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    for words in ("32x28 pixels, 3 classes", "72 of the 121", "Boundary crop", "window of 32x28 pixels"):
        assert words in report
    header, *rows = (tmp_path / "reports/lenet/0/crop/confusion-clean.csv").read_text().splitlines()
    assert header == "actual,predicted a flower,predicted a temple,predicted its roof"
    assert [row.split(",")[0] for row in rows] == CLASSES
    assert "digit" not in report.partition("<script")[0].lower()


@pytest.mark.slow
def test_dvc_notices_another_picture(project: Project, pictures: Path) -> None:
    project.compose("data=folder", f"data.path={pictures}", "model=lenet")
    project.dvc("repro", "download")
    assert "download" not in project.dvc("status", "download")
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)).save(pictures / CLASSES[0] / "new.png")
    assert "download" in project.dvc("status", "download")
    (pictures / CLASSES[0] / "new.txt").write_text("a note")
    refused = project.dvc("repro", "download", check=False)
    assert f"error: {pictures / CLASSES[0] / 'new.txt'} is not an image" in refused
    assert "Traceback" not in refused


def test_folder_that_is_not_there_is_named(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "data=folder", "-S", "data.path=/nowhere/pictures", check=False)
    assert "/nowhere/pictures" in output
    assert "Traceback" not in output


def test_named_sets_need_a_margin_in_crop(pictures: Path, tmp_path: Path) -> None:
    """The size of a folder's images is not known before they are read."""
    choices = ["data=folder", f"data.path={pictures}", "data.frame=[36,40]", "evaluation.boundaries=[crop]"]
    parameters = stages.config(tmp_path, *choices, "model=mlp")
    with stages.workspace(tmp_path):
        download.run(parameters)
        train.run(parameters, "mlp", 0)
        expected = "evaluation.radius is 2, and the named sets reach 5 pixels, but images of 48x44 have 4"
        with pytest.raises(UserError, match=expected):
            predict.run(parameters, "mlp", 0)
    assert not (tmp_path / "predictions").exists()
