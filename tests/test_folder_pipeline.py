"""The pipeline on a folder of somebody's own pictures: in colour, not square, with names for classes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

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


def test_coloured_pictures_are_learned_and_measured(project: Project, pictures: Path) -> None:
    choices = ["data=folder", f"data.path={pictures}", "data.frame=[28,32]", "evaluation.boundaries=[zero,crop]"]
    choices += ["evaluation.radius=5", "evaluation.shifts=30", "model=lenet"]
    output = project.dvc("exp", "run", "--name", "own", *(word for choice in choices for word in ("-S", choice)))
    assert "28x28" not in output
    comparison = json.loads(project.read("metrics/comparison.json"))
    assert comparison["data"] == "folder"
    assert (comparison["shape"], comparison["classes"], comparison["shifts"]) == ([3, 28, 32], 3, 72)
    assert comparison["images"] == 15
    clean = {one["boundary"]: one["metrics"]["clean"]["value"] for one in comparison["models"]}
    assert list(clean) == ["zero", "crop"]
    assert clean["zero"] == clean["crop"]
    report = project.read("reports/index.html").decode()
    for words in ("32x28 pixels, 3 classes", "72 of the 121", "Boundary crop", "a window of 32x28 pixels"):
        assert words in report
    header, *rows = project.read("reports/lenet/0/crop/confusion-clean.csv").decode().splitlines()
    assert header == "actual,predicted a flower,predicted a temple,predicted its roof"
    assert [row.split(",")[0] for row in rows] == CLASSES
    assert "digit" not in report.partition("<script")[0].lower()

    # DVC notices another picture, and nothing else.
    assert "Data and pipelines are up to date" in project.dvc("status")
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)).save(pictures / CLASSES[0] / "new.png")
    assert "download" in project.dvc("status")
    (pictures / CLASSES[0] / "new.txt").write_text("a note")
    refused = project.dvc("repro", "download", check=False)
    assert f"error: {pictures / CLASSES[0] / 'new.txt'} is not an image" in refused
    assert "Traceback" not in refused


def test_folder_that_is_not_there_is_named(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "data=folder", "-S", "data.path=/nowhere/pictures", check=False)
    assert "/nowhere/pictures" in output
    assert "Traceback" not in output


def test_named_sets_need_a_margin_in_crop(project: Project, pictures: Path) -> None:
    """The size of a folder's images is not known before they are read."""
    project.compose(
        "data=folder", f"data.path={pictures}", "data.frame=[36,40]", "evaluation.boundaries=[crop]", "model=mlp"
    )
    project.dvc("repro", "train")
    refused = project.run(sys.executable, "src/predict.py", "mlp", "0", check=False)
    assert refused.returncode == 1
    assert (
        "error: evaluation.radius is 2, and the named sets reach 5 pixels, but images of 48x44 have 4" in refused.stdout
    )
    assert not (project.root / "predictions").exists()
