"""Epochs timed in turn, on digits and by a clock of the test's own."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiftlab.config.params import Params
from shiftlab.data import dataset
from shiftlab.tuning import timing
from tests.helpers import PARAMETERS
from tests.helpers import dataset as small

PARAMS = Params.model_validate(PARAMETERS)


def test_an_epoch_takes_the_shortest_of_those_that_were_timed_as_often_as_its_images_fit_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    order = []
    disturbed = {8: iter([2, 9, 1, 3, 2, 2, 2]), 64: iter([5, 4, 50, 4, 6, 6, 6])}

    def epochs(_model: str, size: int, *_: object) -> Iterator[None]:
        nonlocal now
        for seconds in disturbed[size]:
            now += seconds
            order.append(size)
            yield

    monkeypatch.setattr(timing, "_training", epochs)
    untouched = SimpleNamespace(prepare=lambda _: None, set_threads=lambda _: None)  # the test's process
    monkeypatch.setattr(timing, "determinism", untouched)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    whole = small(200)
    dataset.save(whole, tmp_path / "data")
    data = (tmp_path / "data").read_bytes()
    images = len(whole.train)
    assert images // 10 // 8 * 8 == 16  # two batches of a tenth
    assert timing.epochs("mlp", [8, 64], PARAMS, data) == [1 * images / 16, 4 * images / 64]
    assert order == [8, 64] * timing.ROUNDS


@pytest.mark.parametrize(("size", "images"), [(8, 16), (64, 64), (1000, 200)])
def test_a_part_is_of_whole_batches_of_which_there_is_one(size: int, images: int) -> None:
    whole = small(200)
    part = timing._part(whole, size)
    assert len(part.train) == images
    assert len(part.validation) == max(1, len(whole.validation) * images // len(whole.train))


def test_timed_epochs_are_those_of_a_training_with_such_batches() -> None:
    states = list(timing._training("mlp", 64, PARAMS, small(200)))
    assert [len(state.history) for state in states] == list(range(1, timing.ROUNDS + 1))
    (steps,) = {float(one["step"]) for one in states[-1].optimizer["state"].values()}
    assert steps == timing.ROUNDS * -(-len(small(200).train) // 64)
