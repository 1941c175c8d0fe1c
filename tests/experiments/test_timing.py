"""Trainings timed in turn, on digits and by a clock of the test's own."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiftlab.data import dataset
from shiftlab.experiments import timing
from shiftlab.params import Params, Training
from tests.helpers import PARAMETERS
from tests.helpers import dataset as small

SHORT, LONG = (Training(lr=0.01, batch_size=64, epochs=epochs) for epochs in (2, 20))


def test_a_training_takes_its_epochs_times_the_shortest_of_those_that_were_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    order = []
    disturbed = {SHORT.epochs: iter([2, 9, 1, 3, 2]), LONG.epochs: iter([5, 4, 50, 4, 6])}

    def epochs(_model: str, settings: Training, *_: object) -> Iterator[None]:
        nonlocal now
        for seconds in disturbed[settings.epochs]:
            now += seconds
            order.append(settings)
            yield

    monkeypatch.setattr(timing, "_epochs", epochs)
    monkeypatch.setattr(timing, "processor", SimpleNamespace(prepare=lambda: None, use=lambda _: None))  # of the test's
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    dataset.save(small(200), tmp_path / "data")
    data = (tmp_path / "data").read_bytes()
    assert timing.in_turn("mlp", [SHORT, LONG], Params.model_validate(PARAMETERS), data) == [2 * 1, 20 * 4]
    assert order == [SHORT, LONG] * timing.ROUNDS


def test_a_short_training_is_begun_anew_for_more_epochs() -> None:
    epochs = timing._epochs("mlp", SHORT, Params.model_validate(PARAMETERS), small(200))
    lengths = [len(state.history) for state in islice(epochs, 5)]
    assert lengths == [1, 2, 1, 2, 1]
