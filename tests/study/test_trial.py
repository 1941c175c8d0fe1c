from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shiftlab.config.params import Params, Study, Variant
from shiftlab.data import canvas
from shiftlab.data.dataset import Dataset
from shiftlab.errors import UserError
from shiftlab.metrics.definitions.consistency import consistency_by_image
from shiftlab.shifts.boundaries import shift
from shiftlab.shifts.grids import named_set
from shiftlab.study import answers, summary, trial
from shiftlab.study.answers import Answers, Trials
from shiftlab.training import loop
from shiftlab.training.augmentation import Augmented
from tests.helpers import PARAMETERS, dataset

CPU = torch.device("cpu")
VARIANTS: dict[str, Any] = {
    "max": {},
    "moved": {"augmentation": {"kind": "shifts", "pixels": 3}},
    "dense": {"architecture": "mlp"},
    "wide": {"canvas": 40, "components": {"downsampling": "polyphase max", "padding": "circular", "head": "max"}},
}
STUDY: Study = Params.model_validate({**PARAMETERS, "study": {**PARAMETERS["study"], "variants": VARIANTS}}).study


@pytest.fixture(scope="module")
def data() -> Dataset:
    return dataset(200, validation=30, test=60)


@pytest.fixture(scope="module")
def found(data: Dataset) -> dict[Any, Answers]:
    return dict(trial.run(STUDY.every["max"], data, STUDY, 3, CPU))


def test_a_seed_decides_everything(found: dict[Any, Answers], data: Dataset) -> None:
    again = trial.run(STUDY.every["max"], data, STUDY, 3, CPU)
    other = trial.run(STUDY.every["max"], data, STUDY, 4, CPU)
    for boundary, one in found.items():
        for name, array in one.arrays().items():
            np.testing.assert_array_equal(array, again[boundary].arrays()[name])
    assert (found["zero"].on_grid != other["zero"].on_grid).any()


def test_a_seed_gives_every_variant_the_same_order_of_images(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although their first weights take differently many numbers from the generator."""
    orders: list[list[list[int]]] = []
    shuffled = Augmented.shuffled

    def noted(self: Augmented) -> Any:
        epoch = shuffled(self)
        orders[-1].append(epoch.labels.tolist())
        return epoch

    monkeypatch.setattr(Augmented, "shuffled", noted)
    numbered = replace(data, train=replace(data.train, labels=torch.arange(200) % 10))
    for name in ("max", "moved", "dense"):
        orders.append([])
        trial.run(STUDY.every[name].model_copy(update={"epochs": 2}), numbered, STUDY, 5, CPU)
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] != orders[0][1]


def test_answers_are_those_of_the_network_under_each_shift(data: Dataset) -> None:
    torch.manual_seed(3)
    model, accuracy = trial._train(STUDY.every["max"], data, 3, CPU, lambda _: None)
    for boundary, one in trial.run(STUDY.every["max"], data, STUDY, 3, CPU).items():
        assert one.validation == accuracy == loop.score(model, data.validation)[1]
        few = data.test.images[one.images]
        for shifts, called in ((one.grid_shifts, one.on_grid), (one.axis_shifts, one.on_axes)):
            for (dx, dy), row in zip(shifts.tolist(), called, strict=True):
                np.testing.assert_array_equal(row, model(shift(few, dx, dy, boundary)).argmax(1))
        for name, called in one.sets.items():
            moved = [
                shift(image[None], dx, dy, boundary)
                for image, (dx, dy) in zip(data.test.images, named_set(name, 60, 0).tolist(), strict=True)
            ]
            np.testing.assert_array_equal(called, model(torch.cat(moved)).argmax(1))


def test_metrics_are_those_of_a_brute_force(found: dict[Any, Answers]) -> None:
    one = found["zero"]
    values = {name: estimate.value for name, estimate in summary.measure(one).items()}
    labels = one.labels[one.images]
    assert values["right5"] == (one.sets["right5"] == one.labels).mean()
    at_three = [
        row for (dx, dy), row in zip(one.axis_shifts.tolist(), one.on_axes, strict=True) if abs(dx) + abs(dy) == 3
    ]
    assert len(at_three) == 4
    assert values["distance 3"] == pytest.approx(np.mean([row == labels for row in at_three]))
    assert values["distance 0"] == (one.on_axes[0] == labels).mean()
    consistency = consistency_by_image(one.on_grid, one.grid_shifts).mean()
    assert values["consistency"] == pytest.approx(consistency)


def test_canvas_is_larger_and_moves_lose_no_ink(data: Dataset) -> None:
    wide = trial.laid(data, STUDY.every["wide"])
    assert wide.shape == (1, 40, 40)
    assert wide.canvas
    reach = trial.reach(wide, STUDY.model_copy(update={"radius": 14}))
    whole = wide.test.images.sum()
    for dx, dy in ((reach, reach), (-reach, -reach)):
        assert shift(wide.test.images, dx, dy).sum() == whole
    assert trial.reach(data, STUDY) == STUDY.radius
    assert trial.laid(data, STUDY.every["max"]) is data
    assert torch.equal(wide.test.images, canvas.place_on_canvas(data.test, 40).images)
    trial.run(STUDY.every["wide"], wide, STUDY, 0, CPU)


def test_progress_adds_up(data: Dataset) -> None:
    for name in ("max", "wide"):
        variant: Variant = STUDY.every[name]
        seen: list[int] = []
        laid = trial.laid(data, variant)
        trial.run(variant, laid, STUDY, 0, CPU, seen.append)
        assert sum(seen) == trial.count(laid, variant, STUDY)


def test_too_few_test_images_are_refused(data: Dataset) -> None:
    with pytest.raises(UserError, match="can't be drawn from 60 test images"):
        trial.run(STUDY.every["dense"], data, STUDY.model_copy(update={"images": 61}), 0, CPU)


def test_answers_come_back_from_disk(found: dict[Any, Answers], tmp_path: Path) -> None:
    trials = Trials({"variant": "max"}, {(seed, boundary): one for seed in (0, 11) for boundary, one in found.items()})
    for name in ("a", "b"):
        answers.save(trials, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = answers.load(tmp_path / "a")
    assert loaded.about == trials.about
    assert set(loaded.answers) == set(trials.answers)
    for key, one in trials.answers.items():
        for name, array in one.arrays().items():
            np.testing.assert_array_equal(array, loaded.answers[key].arrays()[name])


@pytest.fixture(params=["missing", "text"])
def unreadable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "text":
        (tmp_path / "text").write_text("nothing")
    path: Path = tmp_path / request.param
    return path


def test_what_is_no_file_of_answers_is_refused(unreadable: Path) -> None:
    with pytest.raises(UserError, match="make study") as caught:
        answers.load(unreadable)
    assert "\n" not in str(caught.value)
