"""One architecture, metric, boundary mode and source more, in a copy: what is touched, and where they appear."""

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.project import Project, new_project

ADDED = {
    "src/shiftlab/models/architectures/linear.py": '''"""One matrix."""

from math import prod

from torch import nn

from shiftlab.networks.classifier import Classifier


def build(shape: tuple[int, int, int], classes: int) -> Classifier:
    """Softmax regression."""
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), classes)), mean=0.5, std=0.5)
''',
    "conf/model/linear.yaml": """# @package _global_
model: linear
models:
  linear:
    lr: 0.01
    batch_size: 64
    epochs: 1
""",
    "src/shiftlab/metrics/definitions/diagonal.py": '''"""Accuracy on the shifts to the bottom right."""

from shiftlab.metrics.registry import metric


@metric(label="accuracy to the bottom right", over="images")
def diagonal(predictions):
    """Return the proportion of those shifts at which each image is classified right, `(M,)`."""
    grid = predictions.grid
    at = (grid.shifts[:, 0] > 0) & (grid.shifts[:, 0] == grid.shifts[:, 1])
    return (grid.predicted[at] == predictions.grid_labels).mean(axis=0)
''',
    "src/shiftlab/shifts/boundaries/reflect.py": '''"""Boundary `reflect`: the image goes on as in a mirror."""

from shiftlab.shifts.boundary import Boundary


def extend(images, pixels):
    """Return images that go on in a mirror."""
    from torch.nn.functional import pad

    return pad(images.float(), (pixels,) * 4, mode="reflect").to(images.dtype)


BOUNDARY = Boundary("mirrored", "content is mirrored at the edge", extend)
''',
    "src/shiftlab/data/sources/stripes.py": '''"""Red, green and blue stripes."""

from shiftlab.data.sources import Source

CLASSES = ("red", "green", "blue")


def load(data):
    """Return training images, test images and classes."""
    import torch

    from shiftlab.data.dataset import Examples, split

    labels = torch.arange(90) % 3
    images = torch.zeros(90, 3, 20, 31, dtype=torch.uint8)
    images[torch.arange(90), labels, :, 10:14] = 255
    return *split(Examples(images, labels), 30, 0, "the test set"), CLASSES


SOURCE = Source("Stripes", load, image_size=(20, 31), channels=3, classes=CLASSES, images=(60, 30))
''',
    "conf/data/stripes.yaml": """defaults: [mnist, _self_]
name: stripes
source: stripes
path: src/shiftlab/data/sources/stripes.py
validation: 9
frame: [18, 24]
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of this tree on the digits with one more of each."""
    project = new_project(tmp_path_factory.mktemp("registries"))
    for path, text in ADDED.items():
        assert not (project.root / path).exists()
        (project.root / path).write_text(text)
    status = project.git("status", "--porcelain", "--untracked-files=all").splitlines()
    assert sorted(status) == sorted(f"?? {path}" for path in ADDED)  # no other file is touched
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "one more of each")
    return project


def experiment(project: Project, *choices: str) -> None:
    project.dvc("exp", "run", *(word for choice in ("seeds=[0]", *choices) for word in ("-S", choice)))


@pytest.mark.slow
def test_one_more_of_each_appears_everywhere(project: Project) -> None:
    experiment(project, "data=digits", "model=linear", "evaluation.boundaries=[zero,reflect]", "evaluation.radius=4")
    comparison = json.loads(project.read("metrics/comparison.json"))
    assert {(entry["model"], entry["boundary"]) for entry in comparison["models"]} == {
        ("linear", "zero"),
        ("linear", "reflect"),
    }
    table = project.root / "reports/linear/0/reflect/metrics.csv"
    assert "diagonal" in {row["metric"] for row in csv.DictReader(table.read_text().splitlines())}
    page = (project.root / "reports/index.html").read_text()
    assert "Linear" in page
    assert "accuracy to the bottom right" in page
    assert "mirrored" in page
    assert (project.root / "plots/accuracy/reflect-x.csv").is_file()
    logged = (
        "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); "
        "runs = mlflow.search_runs(search_all_experiments=True, output_format='list'); "
        "print(sorted({key for run in runs for key in run.data.metrics if 'diagonal' in key}))"
    )
    assert "reflect" in project.run(sys.executable, "-c", logged).stdout


@pytest.mark.slow
def test_one_more_of_each_is_taken_by_audits(project: Project, tmp_path: Path) -> None:
    shiftlab = (sys.executable, "-c", "from shiftlab.cli import main; main()")
    environment = {"PYTHONPATH": str(project.root / "src")}
    options = project.run(*shiftlab, "audit", "--help", environment=environment).stdout
    assert "reflect" in options
    audit = ("audit", "models/linear-0.safetensors", "--data", "digits", "--boundary", "reflect", "--radius", "4")
    few = ("--images", "60", "--fail-under", "diagonal=0.1", "--out", str(tmp_path / "audit"))
    project.run(*shiftlab, *audit, *few, environment=environment)
    assert "diagonal" in (tmp_path / "audit/metrics.json").read_text()


@pytest.mark.slow
def test_one_more_source_of_another_size_runs_the_pipeline(project: Project) -> None:
    experiment(project, "data=stripes", "model=linear", "evaluation.radius=3", "evaluation.images=21")
    comparison = json.loads(project.read("metrics/comparison.json"))
    assert (comparison["data"], comparison["shape"]) == ("stripes", [3, 18, 24])
    assert "Stripes" in (project.root / "reports/index.html").read_text()
