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
from shiftlab.shifts import predictions
from shiftlab.shifts.grids import named_set
from shiftlab.shifts.predictions import Predictions
from shiftlab.shifts.transform import shift
from shiftlab.study import summary, trial, trials
from shiftlab.study.trials import Trials
from shiftlab.training import loop
from shiftlab.training.augmentation import Augmented
from tests.helpers import ABOUT, PARAMETERS, dataset

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
def predicted(data: Dataset) -> dict[Any, Predictions]:
    return trial.run(STUDY.full_variants["max"], data, STUDY, ABOUT, 3, CPU)[1]


def assert_same(first: Predictions, second: Predictions) -> None:
    expected = predictions.to_arrays(second)
    for name, array in predictions.to_arrays(first).items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


def test_a_seed_decides_everything(predicted: dict[Any, Predictions], data: Dataset) -> None:
    _, again = trial.run(STUDY.full_variants["max"], data, STUDY, ABOUT, 3, CPU)
    _, other = trial.run(STUDY.full_variants["max"], data, STUDY, ABOUT, 4, CPU)
    for boundary, of_boundary in predicted.items():
        assert_same(of_boundary, again[boundary])
    assert (predicted["zero"].grid.predicted != other["zero"].grid.predicted).any()


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
        trial.run(STUDY.full_variants[name].model_copy(update={"epochs": 2}), numbered, STUDY, ABOUT, 5, CPU)
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] != orders[0][1]


def test_predictions_are_those_of_the_network_under_each_shift(data: Dataset) -> None:
    torch.manual_seed(3)
    model, accuracy = trial._train(STUDY.full_variants["max"], data, 3, CPU, lambda _: None)
    validation, of_boundaries = trial.run(STUDY.full_variants["max"], data, STUDY, ABOUT, 3, CPU)
    assert validation == accuracy == loop.score(model, data.validation)[1]
    for boundary, of_boundary in of_boundaries.items():
        grid = of_boundary.grid
        few = data.test.images[grid.images]
        for shifts, rows in ((grid.shifts, grid.predicted), (of_boundary.line_shifts, of_boundary.on_lines)):
            for (dx, dy), row in zip(shifts.tolist(), rows, strict=True):
                np.testing.assert_array_equal(row, model(shift(few, dx, dy, boundary)).argmax(1))
        for name, of_set in of_boundary.sets.items():
            moved = [
                shift(image[None], dx, dy, boundary)
                for image, (dx, dy) in zip(data.test.images, named_set(name, 60, 0).tolist(), strict=True)
            ]
            np.testing.assert_array_equal(of_set.predicted, model(torch.cat(moved)).argmax(1))


def test_metrics_are_those_of_a_brute_force(predicted: dict[Any, Predictions]) -> None:
    zero = predicted["zero"]
    values = {name: estimate.value for name, estimate in summary.measure(zero).items()}
    labels = zero.labels[zero.grid.images]
    assert values["right5"] == (zero.sets["right5"].predicted == zero.labels).mean()
    lines = zip(zero.line_shifts.tolist(), zero.on_lines, strict=True)
    at_three = [row for (dx, dy), row in lines if dx * dy == 0 and abs(dx) + abs(dy) == 3]
    assert len(at_three) == 4
    assert values["distance 3"] == pytest.approx(np.mean([row == labels for row in at_three]))
    assert values["distance 0"] == (zero.along(np.zeros((1, 2), np.int8))[0] == labels).mean()
    consistency = consistency_by_image(zero.grid.predicted, zero.grid.shifts).mean()
    assert values["consistency"] == pytest.approx(consistency)


def test_canvas_is_larger_and_moves_lose_no_ink(data: Dataset) -> None:
    wide = trial.on_canvas(data, STUDY.full_variants["wide"])
    assert wide.shape == (1, 40, 40)
    assert wide.canvas
    reach = trial.evaluation(wide, STUDY.model_copy(update={"radius": 14})).radius
    whole = wide.test.images.sum()
    for dx, dy in ((reach, reach), (-reach, -reach)):
        assert shift(wide.test.images, dx, dy).sum() == whole
    assert trial.evaluation(data, STUDY).radius == STUDY.radius
    assert trial.on_canvas(data, STUDY.full_variants["max"]) is data
    assert torch.equal(wide.test.images, canvas.place_on_canvas(data.test, 40).images)
    trial.run(STUDY.full_variants["wide"], wide, STUDY, replace(ABOUT, shape=wide.shape), 0, CPU)


def test_progress_adds_up(data: Dataset) -> None:
    for name in ("max", "wide"):
        variant: Variant = STUDY.full_variants[name]
        seen: list[int] = []
        placed = trial.on_canvas(data, variant)
        trial.run(variant, placed, STUDY, replace(ABOUT, shape=placed.shape), 0, CPU, seen.append)
        assert sum(seen) == trial.count(placed, variant, STUDY)


def test_too_few_test_images_are_refused(data: Dataset) -> None:
    with pytest.raises(UserError, match="can't be drawn from 60 test images"):
        trial.run(STUDY.full_variants["dense"], data, STUDY.model_copy(update={"images": 61}), ABOUT, 0, CPU)


def test_trainings_come_back_from_disk(predicted: dict[Any, Predictions], tmp_path: Path) -> None:
    of_seeds = {(seed, boundary): of_boundary for seed in (0, 11) for boundary, of_boundary in predicted.items()}
    saved = Trials({"variant": "max"}, {0: 0.5, 11: 0.25}, of_seeds)
    for name in ("a", "b"):
        trials.save(saved, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    loaded = trials.load(tmp_path / "a")
    assert (loaded.metadata, loaded.validation) == (saved.metadata, saved.validation)
    assert set(loaded.predictions) == set(of_seeds)
    for key, of_key in of_seeds.items():
        assert_same(loaded.predictions[key], of_key)


def test_unfinished_training_comes_back(predicted: dict[Any, Predictions]) -> None:
    accuracy, loaded = trials.from_arrays(trials.to_arrays(0.75, predicted), ABOUT)
    assert accuracy == 0.75
    for boundary, of_boundary in predicted.items():
        assert_same(loaded[boundary], of_boundary)
        assert loaded[boundary].metadata.boundary == boundary


@pytest.mark.parametrize("content", [None, "nothing", "{}"])
def test_what_is_no_folder_of_trainings_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / trials.ABOUT).write_text(content)
    with pytest.raises(UserError, match="make study") as caught:
        trials.load(tmp_path)
    assert "\n" not in str(caught.value)
