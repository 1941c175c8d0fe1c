"""Models that people bring to the page to draw on."""

from pathlib import Path

import pytest
import torch

from shiftlab.auditing import play
from shiftlab.auditing.preprocessing import Carried
from shiftlab.errors import UserError
from shiftlab.measure.inference import probabilities

GREY = Carried(frame=(28, 28), channels="grey", mean=(0.0,), std=(1.0,))
FILE = """
from torch import nn

def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 3))

def larger():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 4))
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FILE)
    return str(tmp_path / "mine.py")


def test_model_of_ones_own_is_asked_with_the_preprocessing_that_was_given(file: str) -> None:
    models, classes, shape = play.together([f"{file}:small"], GREY, ["ant", "bee", "cow"])
    assert (classes, shape) == (("ant", "bee", "cow"), (1, 28, 28))
    ((name, model),) = models.items()
    assert name == "mine.py:small"
    assert probabilities(model, torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 3)
    models, classes, _ = play.together([f"{file}:small", f"{file}:small"], GREY)
    assert list(models) == ["mine.py:small", f"{file}:small"]
    assert classes == ("0", "1", "2")


def test_models_that_do_not_see_alike_are_refused(file: str) -> None:
    with pytest.raises(UserError, match="do not see alike"):
        play.together([f"{file}:small", f"{file}:larger"], GREY)


def test_number_of_names_has_to_fit(file: str) -> None:
    with pytest.raises(UserError, match="3 outputs, and 2 names"):
        play.together([f"{file}:small"], GREY, ["ant", "bee"])


def test_preprocessing_that_nobody_tells_is_asked_for(file: str) -> None:
    with pytest.raises(UserError, match="--crop 224"):
        play.together([f"{file}:small"], Carried())
