"""Models that people bring to the page to draw on."""

from pathlib import Path

import pytest
import torch

from shiftlab.audits import play
from shiftlab.config.audit import PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.models import architectures, weights
from shiftlab.shifts.inference import probabilities

GREY = PreprocessingHints(frame=(28, 28), channels="grey", mean=(0.0,), std=(1.0,))
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
    models, classes, shape = play.load_models([f"{file}:small"], GREY, ["ant", "bee", "cow"])
    assert (classes, shape) == (("ant", "bee", "cow"), (1, 28, 28))
    ((name, model),) = models.items()
    assert name == "mine.py:small"
    assert probabilities(model, torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 3)
    models, classes, _ = play.load_models([f"{file}:small", f"{file}:small"], GREY)
    assert list(models) == ["mine.py:small", f"{file}:small"]
    assert classes == ("0", "1", "2")


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet", "invariant"])
def test_weights_of_this_repository_need_no_options(name: str, tmp_path: Path) -> None:
    trained = architectures.build(name, (1, 28, 28), 10).eval()
    file = tmp_path / f"{name}-0.safetensors"
    weights.save(trained.state_dict(), name, file)
    drawn = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    for given in (PreprocessingHints(), PreprocessingHints(frame=(28, 28))):
        models, classes, shape = play.load_models([str(file)], given)
        assert (classes, shape) == (tuple("0123456789"), (1, 28, 28))
        torch.testing.assert_close(
            probabilities(models[f"{name}-0.safetensors"], drawn), probabilities(trained, drawn), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(("name", "shape"), [("mlp", (1, 48, 48)), ("lenet", (1, 48, 48)), ("mlp", (3, 32, 32))])
def test_weights_tell_the_size_of_their_images(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    file = tmp_path / f"{name}-0.safetensors"
    weights.save(architectures.build(name, shape, 4).state_dict(), name, file)
    _, classes, found = play.load_models([str(file)], PreprocessingHints())
    assert (len(classes), found) == (4, shape)


def test_components_of_weights_are_theirs(tmp_path: Path) -> None:
    chosen = {"layers": 5, "head": "max"}
    trained = architectures.build("small", (1, 28, 28), 10, chosen)
    weights.save(trained.state_dict(), "small", tmp_path / "small-0.safetensors", chosen)
    _, classes, shape = play.load_models([str(tmp_path / "small-0.safetensors")], PreprocessingHints())
    assert (len(classes), shape) == (10, (1, 28, 28))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wide", "which is none of invariant"),
        ("lenet", "weights of lenet"),
        ('small {"head": "tail"}', "that small does"),
    ],
)
def test_weights_of_something_else_are_refused(name: str, sentence: str, tmp_path: Path) -> None:
    weights.save({"network.1.weight": torch.zeros(3, 4)}, name, tmp_path / "else.safetensors")
    with pytest.raises(UserError, match=sentence):
        play.load_models([str(tmp_path / "else.safetensors")], PreprocessingHints())


def test_models_that_do_not_see_alike_are_refused(file: str) -> None:
    with pytest.raises(UserError, match="do not see alike"):
        play.load_models([f"{file}:small", f"{file}:larger"], GREY)


def test_number_of_names_has_to_fit(file: str) -> None:
    with pytest.raises(UserError, match="3 outputs, and 2 names"):
        play.load_models([f"{file}:small"], GREY, ["ant", "bee"])


def test_preprocessing_that_nobody_tells_is_asked_for(file: str) -> None:
    with pytest.raises(UserError, match="--crop 224"):
        play.load_models([f"{file}:small"], PreprocessingHints())
