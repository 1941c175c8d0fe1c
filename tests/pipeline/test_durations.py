"""How long stages are expected to take."""

from pathlib import Path

import numpy as np
import pytest
from dvc.utils.hydra import compose_and_dump

from shiftlab.config import params
from shiftlab.pipeline import durations
from shiftlab.shifts.protocol import plan_evaluation
from tests.helpers import ROOT


def chosen(tmp_path: Path, *choices: str) -> params.Params:
    compose_and_dump(tmp_path / "params.yaml", str(ROOT / "conf"), None, "config", "", list(choices))
    return params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("choices", [[], ["preset=quick"], ["preset=quick_digits"], ["evaluation.shifts=64"]])
def test_forward_passes_are_those_of_predict(choices: list[str], tmp_path: Path) -> None:
    of = chosen(tmp_path, *choices)
    _, test = durations.images(of)
    exact = plan_evaluation(test, np.arange(test) % 10, "zero", (1, 28, 28), of.evaluation).passes(test)
    assert durations.forward_passes(of.evaluation, test) == pytest.approx(exact, rel=0.05)


def test_more_work_takes_longer_and_the_quick_preset_a_small_part(tmp_path: Path) -> None:
    names = ["train@lenet-0", "train@resnet-0", "predict@lenet-0", "predict@resnet-0", "compare", "mine"]
    everything = durations.expected(chosen(tmp_path), names)
    quick = durations.expected(chosen(tmp_path, "preset=quick"), names)
    assert everything["train@resnet-0"] > everything["train@lenet-0"] > quick["train@lenet-0"] > 0
    assert sum(quick.values()) < sum(everything.values()) / 10
    assert everything["mine"] == durations.UNKNOWN_S


def test_images_are_those_that_are_left(tmp_path: Path) -> None:
    assert durations.images(chosen(tmp_path)) == (55_000, 10_000)
    assert durations.images(chosen(tmp_path, "preset=quick")) == (16_000, 1_000)
    assert durations.images(chosen(tmp_path, "data=digits")) == (1_294, 359)
