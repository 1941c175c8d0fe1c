"""Mistakes in what a user gives to an audit: each ends with one sentence that says what to do, and status 2."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import shiftlab
from shiftlab.cli import app

MODEL = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(144, 3))


build, of_class, instance = Net, lambda: Net, Net()
"""
OPTIONS = "--channels grey --mean 0.5 --std 0.5 --radius 1 --shifts all --boundary zero --any-accuracy"
LABELS = {
    "names": np.array(["top", "mid", "low"] * 4),
    "from_1": np.array([1, 2, 3] * 4),
    "floats": np.array([0.0, 1.0, 2.0] * 4),
    "right": np.array([0, 1, 2] * 4),
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("empty.pt").touch()
    Path("absent.pt").write_bytes(b"\x80\x02cno_such_module\nNet\n.")  # a pickle of a class
    images = np.random.default_rng(0).integers(0, 256, (12, 12, 12), dtype=np.uint8)
    for name, labels in LABELS.items():
        np.savez(f"{name}.npz", images=images, labels=labels)
    np.savez("none.npz", images=images[:0], labels=LABELS["right"][:0])


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("model.py:build --data names.npz", "labels of type <U3: they must be numbers of classes"),
        ("model.py:build --data floats.npz", "labels of type float64 from 0.0: they must be numbers of classes"),
        ("model.py:build --data from_1.npz", "its labels are 1 to 3, counted from 0"),
        ("model.py:build --data none.npz", "none holds no images"),
        ("model.py:build --data right.npz --mean nan", "--mean is 'nan': give one finite number"),
        ("model.py:build --data right.npz --images 0", "--images is '0': give a whole number above 0, or all"),
        ("model.py:build --data right.npz --out right.npz", "right.npz is a file: name a folder"),
        ("model.py:of_class --data right.npz", "model.py:of_class returns the class Net"),
        ("model.py:instance --data right.npz", "model.py:instance is a model: name a function that returns it"),
        ("empty.pt --data right.npz", "empty.pt can't be read (EOFError): copy it anew"),
        ("absent.pt --trust-pickle --data right.npz", "set PYTHONPATH to the folder of that module"),
    ],
)
def test_mistake_ends_with_one_sentence(typed: str, sentence: str) -> None:
    result = CliRunner().invoke(app, ["audit", *OPTIONS.split(), *typed.split()])
    assert result.exit_code == 2
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert sentence in error


def test_spaces_in_a_file_of_thresholds() -> None:
    Path("thresholds.txt").write_text("zero.random5 = 0\n")
    command = ["audit", "model.py:build", "--data", "right.npz", "--thresholds", "thresholds.txt", *OPTIONS.split()]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_python_takes_one_boundary_by_its_name_and_has_the_error() -> None:
    images, labels = np.load("right.npz")["images"], LABELS["right"]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3))
    options: dict[str, Any] = {"mean": [0.5], "std": [0.5], "radius": 1, "shifts": "all", "any_accuracy": True}
    assert list(shiftlab.audit(network, images, labels, boundaries="zero", **options).metrics) == ["zero"]
    with pytest.raises(shiftlab.UserError, match="mean is"):
        shiftlab.audit(network, images, labels, **{**options, "mean": [float("nan")]})
