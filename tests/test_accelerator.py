"""What holds on a GPU: the same bits every time, and the CPU's answers. Skipped where there is none."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import shiftlab
from shiftlab import determinism
from shiftlab.config.params import Augmentation, BoundaryName, Evaluation, RecipeName, Training
from shiftlab.data.dataset import Dataset
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.predictions import Predictions
from shiftlab.shifts.protocol import predict_evaluation
from shiftlab.study import trial
from shiftlab.training import loop
from shiftlab.training.augmentation import Augmented
from shiftlab.training.loop import State
from tests.audits.models import Plain, data
from tests.helpers import ABOUT, DIGITS, GREY, dataset, examples, settings_put_back
from tests.study.trials import study
from tests.training.test_training import assert_same, copied

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")

ALL = ("mlp", "lenet", "resnet", "invariant", "small", "narrow_resnet")
SETTINGS = Training(lr=0.001, batch_size=32, epochs=3)
CAUTIOUS = Training(lr=0.0001, batch_size=32, epochs=1)
MOVED = Augmentation(kind="shifts", pixels=3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The accelerator as every stage sets it up; what that changes for the whole process is put back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with settings_put_back():
        yield determinism.pick_device("auto")


def epochs(
    name: str,
    on: torch.device,
    recipe: RecipeName = "notebook",
    state: State | None = None,
    settings: Training = SETTINGS,
    data: Dataset | None = None,
) -> Iterator[State]:
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10)
    return map(copied, loop.fit(model, data or dataset(300), recipe, settings, on, state, augmentation=MOVED))


@pytest.mark.parametrize("recipe", get_args(RecipeName))
@pytest.mark.parametrize("name", ALL)
def test_training_is_the_same_every_time_and_after_an_interruption(
    name: str, recipe: RecipeName, gpu: torch.device
) -> None:
    *_, first = epochs(name, gpu, recipe)
    begun = next(epochs(name, gpu, recipe))
    *_, second = epochs(name, gpu, recipe, begun)
    assert first.history == second.history
    assert_same(first.weights, second.weights)
    assert_same(first.best, second.best)


@pytest.mark.parametrize("name", ALL)
def test_first_steps_are_the_cpus(name: str, gpu: torch.device) -> None:
    """Of an ordinary loop with Adam; later, rounding leads two trainings apart."""
    data = dataset(4 * CAUTIOUS.batch_size)
    first = next(epochs(name, gpu, settings=CAUTIOUS, data=data)).history[0]
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10).train()
    optimizer = torch.optim.Adam(model.parameters(), CAUTIOUS.lr, fused=False)
    train = Augmented(data.train, data.frame, MOVED).shuffled()
    losses = []
    for images, labels in zip(*(part.split(CAUTIOUS.batch_size) for part in (train.images, train.labels)), strict=True):
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert first.train_loss == pytest.approx(np.mean(losses), rel=1e-3)


def a_model(name: str) -> Classifier:
    """With statistics that are not those of a new model."""
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10)
    with torch.no_grad():
        for _ in range(3):
            model(examples(64).images)
    return model.eval()


def predictions(name: str, boundary: BoundaryName, on: torch.device) -> Predictions:
    settings = {"radius": 2, "boundaries": [boundary], "images": 20, "shifts": "all", "phase": 1, "seed": 0}
    metadata = replace(ABOUT, boundary=boundary)
    model = fuse(a_model(name).to(on), GREY)
    test = examples(60)
    images, evaluation = inference.InMemory(test.images, GREY[1:]), Evaluation.model_validate(settings)
    return predict_evaluation(images, test.labels.numpy(), metadata, evaluation, inference.local(model, on))


@pytest.mark.parametrize("boundary", ["zero", "circular"])
@pytest.mark.parametrize("name", ALL)
def test_predictions_are_the_cpus(name: str, boundary: BoundaryName, gpu: torch.device) -> None:
    expected, found = (predictions(name, boundary, on) for on in (torch.device("cpu"), gpu))
    assert found.sets.keys() == expected.sets.keys()
    for key, one in expected.sets.items():
        np.testing.assert_array_equal(found.sets[key].shifts, one.shifts)
        np.testing.assert_allclose(found.sets[key].confidence, one.confidence, atol=1e-5)
    np.testing.assert_array_equal(found.grid.ink, expected.grid.ink)
    np.testing.assert_allclose(found.grid.confidence, expected.grid.confidence, atol=1e-3)  # float16
    np.testing.assert_allclose(found.grid.euclidean, expected.grid.euclidean, atol=1e-3)
    for ours, theirs in ((found.on_lines, expected.on_lines), (found.grid.predicted, expected.grid.predicted)):
        assert (ours == theirs).mean() > 0.998  # where two classes are as likely, rounding decides


def test_a_trial_of_the_study_runs_there(gpu: torch.device) -> None:
    data = dataset(200, test=60)
    given = study(images=40)
    (_, first), (_, second) = (
        trial.run(given.full_variants["polyphase"], data, given, ABOUT, 0, gpu) for _ in range(2)
    )
    assert first.keys() == {"zero", "circular"}
    for boundary, predicted in first.items():
        np.testing.assert_array_equal(predicted.grid.predicted, second[boundary].grid.predicted)
        assert predicted.grid.predicted.max() < len(DIGITS)


def test_audit_asks_a_module_where_it_is(gpu: torch.device) -> None:
    network = copy.deepcopy(Plain()).to(gpu).train()
    asked: dict[str, Any] = {"count": 80, "radius": 3, "shifts": 20, "mean": [0.1307], "std": [0.3081]}
    test = data().test
    found = shiftlab.audit(network, test.images, test.labels, **asked)
    assert network.training
    assert {weights.device.type for weights in network.parameters()} == {gpu.type}
    expected = shiftlab.audit(Plain(), test.images, test.labels, **asked)
    for boundary, one in expected.predictions.items():
        assert (found.predictions[boundary].grid.predicted == one.grid.predicted).mean() > 0.999
