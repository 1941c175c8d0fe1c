from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tf
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from shiftlab.config.params import BoundaryName, Evaluation
from shiftlab.data.dataset import Examples
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.shifts import inference, predictions
from shiftlab.shifts.grids import DIRECTIONS, FRACTIONS, NAMED_SETS, grid, line, line_shifts, named_set, sample
from shiftlab.shifts.inference import InMemory, Plan
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation
from shiftlab.shifts.store import Store
from tests import helpers
from tests.helpers import ABOUT, GREY, coloured, examples


def settings(radius: int = 2, images: int | str = "all", seed: int = 0, shifts: int | str = "all") -> Evaluation:
    values = {"radius": radius, "boundaries": ["zero"], "images": images, "shifts": shifts, "phase": 1, "seed": seed}
    return Evaluation.model_validate(values)


def a_model() -> Classifier:
    torch.manual_seed(0)
    return architectures.build("mlp", GREY, 10).eval()


def of(boundary: BoundaryName) -> PredictionMetadata:
    return replace(ABOUT, boundary=boundary)


def predict(
    params: Evaluation,
    count: int = 3,
    boundary: BoundaryName = "zero",
    store: Store | None = None,
    model: nn.Module | None = None,
) -> Predictions:
    return helpers.predict(model or a_model(), examples(count), params, of(boundary), store)


def moved(image: Tensor, dx: int, dy: int, boundary: BoundaryName) -> Tensor:
    if boundary == "circular":
        return image.roll((dy, dx), (-2, -1))
    result: Tensor = tf.affine(image, 0, [dx, dy], 1, [0.0], interpolation=InterpolationMode.NEAREST, fill=[0.0])
    return result


def one_by_one(model: nn.Module, image: Tensor, dx: int, dy: int, boundary: BoundaryName = "zero") -> Tensor:
    """The class probabilities of one image, the shift by torchvision."""
    with torch.no_grad():
        probabilities: Tensor = model(moved(image, dx, dy, boundary)[None]).softmax(1)[0]
    return probabilities


@pytest.mark.parametrize("boundary", ["zero", "circular"])
@pytest.mark.parametrize("radius", [1, 27])
def test_lines_agree_with_brute_force(radius: int, boundary: BoundaryName) -> None:
    predicted = predict(settings(radius), boundary=boundary)
    model = a_model()
    expected = [
        [int(one_by_one(model, image, dx, dy, boundary).argmax()) for image in examples(3).images]
        for dx, dy in predicted.line_shifts.tolist()
    ]
    assert predicted.on_lines.dtype == np.uint8
    assert predicted.on_lines.tolist() == expected
    for direction in DIRECTIONS:
        assert predicted.along(line(direction, radius)).shape == (2 * radius + 1, 3)


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_grid_agrees_with_brute_force(boundary: BoundaryName) -> None:
    grid_answers = predict(settings(3, images=12), count=30, boundary=boundary).grid
    model, images = a_model(), examples(30).images[grid_answers.images]
    assert grid_answers.shifts.tolist() == grid(3).tolist()
    for row, (dx, dy) in enumerate(grid_answers.shifts.tolist()):
        expected = torch.stack([one_by_one(model, image, dx, dy, boundary) for image in images])
        still = torch.stack([one_by_one(model, image, 0, 0) for image in images])
        assert grid_answers.predicted[row].tolist() == expected.argmax(1).tolist()
        np.testing.assert_allclose(grid_answers.confidence[row], expected.max(1).values, atol=1e-3)
        np.testing.assert_allclose(grid_answers.euclidean[row], (expected - still).norm(dim=1), atol=1e-3)
        cosine = 1 - torch.nn.functional.cosine_similarity(expected, still)
        np.testing.assert_allclose(grid_answers.cosine[row], cosine, atol=1e-3)


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_sets_agree_with_brute_force(boundary: BoundaryName) -> None:
    answers = predict(settings(1, seed=7), count=30, boundary=boundary)
    model = a_model()
    assert list(answers.sets) == list(NAMED_SETS)
    for name, on_set in answers.sets.items():
        assert on_set.shifts.tolist() == named_set(name, 30, seed=7).tolist()
        expected = [
            one_by_one(model, image, dx, dy, boundary)
            for image, (dx, dy) in zip(examples(30).images, on_set.shifts.tolist(), strict=True)
        ]
        assert on_set.predicted.tolist() == [int(one.argmax()) for one in expected]
        np.testing.assert_allclose(on_set.confidence, [float(one.max()) for one in expected], rtol=1e-5)


def test_centres_are_the_clean_set_and_the_grids_middle_row_is_the_x_curve() -> None:
    predicted = predict(settings(3, images=12), count=30)
    clean = predicted.sets["clean"].predicted[predicted.grid.images]
    assert predicted.along(np.zeros((1, 2), dtype=np.int8))[0].tolist() == clean.tolist()
    assert predicted.grid.predicted[49 // 2].tolist() == clean.tolist()
    assert predicted.grid.predicted[21:28].tolist() == predicted.along(line("x", 3)).tolist()
    assert predicted.on_fractions[0].tolist() == clean.tolist()
    assert predicted.on_fractions[[4, 8]].tolist() == predicted.along(line("x", 2))[3:].tolist()
    assert predicted.fractions.tolist() == FRACTIONS.tolist()


def test_nothing_moves_at_the_grids_centre() -> None:
    grid_answers = predict(settings(1)).grid
    assert grid_answers.euclidean[4].tolist() == grid_answers.cosine[4].tolist() == [0, 0, 0]
    assert grid_answers.euclidean[0].min() > 0


def test_image_without_ink_left_is_called_what_a_blank_one_is() -> None:
    answers = predict(settings(27, images=12), count=30)
    blank = int(one_by_one(a_model(), torch.zeros(GREY, dtype=torch.uint8), 0, 0).argmax())
    beyond = np.array([[27, 0], [-25, 0], [0, 27], [0, -25], [27, 27], [-24, -24]], dtype=np.int8)
    assert np.unique(answers.along(beyond)).tolist() == [blank]
    gone = (answers.grid.ink == 0).all(axis=1)
    assert np.unique(answers.grid.predicted[gone]).tolist() == [blank]
    assert gone.sum() == 55**2 - 47**2  # all but the shifts of up to 23 pixels, since margins are 4


class AdaptivePolyphase(nn.Module):
    """Of the phases that a stride of 2 can take, the one of the largest norm (Chaman & Dokmanic 2021)."""

    def forward(self, maps: Tensor) -> Tensor:
        phases = torch.stack([maps[..., dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)], dim=1)
        largest = phases.flatten(2).norm(dim=2).argmax(dim=1)
        return phases[torch.arange(len(maps)), largest]


def circular_network(stride: int, sampling: nn.Module) -> nn.Module:
    """Untrained, in float64, so that the order of a sum can't tip a prediction: circular padding, global pooling."""
    torch.manual_seed(0)
    last = nn.Linear(16, 10)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=stride, padding=1, padding_mode="circular"),
        sampling,
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        last,
    ).double()
    with torch.no_grad():  # or the bias of an untrained network decides alone
        last.bias.sub_(network(examples(60).images.double() / 255).mean(0))
    return InDouble(network).eval()


@pytest.mark.parametrize(
    ("stride", "sampling", "invariant"),
    [
        pytest.param(1, nn.Identity(), True, id="no stride"),
        pytest.param(2, nn.Identity(), False, id="stride"),
        pytest.param(1, AdaptivePolyphase(), True, id="adaptive polyphase sampling"),
    ],
)
def test_what_is_invariant_by_design_is_measured_as_such(stride: int, sampling: nn.Module, invariant: bool) -> None:
    model = circular_network(stride, sampling)
    called = predict(settings(14, images=20), count=60, boundary="circular", model=model).grid.predicted
    assert len(np.unique(called)) > 3  # or it would be invariant for want of an opinion
    assert bool((called == called[0]).all()) == invariant


class InDouble(nn.Module):
    """Raw images in, as a Classifier has them, to a network of float64."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.double() / 255)
        return logits


def test_ink_is_what_is_left_in_the_frame() -> None:
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    images[0, 0, 10, 26] = 200
    images[1, 0, 10, 10] = 100
    shifts = np.array([[0, 0], [1, 0], [2, 0], [18, 0], [0, 18], [-27, 0]], dtype=np.int8)
    left = {}
    for boundary in ("zero", "circular"):
        plan = Plan(boundary, GREY, {}, np.arange(2, dtype=np.int32), shifts)
        left[boundary] = inference.predict(InMemory(images, (28, 28)), plan, inference.local(a_model()))["ink"]
    assert left["zero"].tolist() == [[200, 100], [200, 100], [0, 100], [0, 0], [0, 0], [0, 0]]
    assert left["circular"].tolist() == [[200, 100]] * 6


def test_predictions_know_what_they_are_of() -> None:
    answers = predict(settings(1))
    assert answers.metadata == ABOUT
    assert answers.labels.tolist() == examples(3).labels.tolist()
    assert answers.labels.dtype == np.uint8


def test_every_shift_of_the_three_directions_is_there_once() -> None:
    shifts = [tuple(shift) for shift in line_shifts(2).tolist()]
    assert len(shifts) == len(set(shifts)) == 3 * 4 + 1
    for direction in DIRECTIONS:
        assert {tuple(shift) for shift in line(direction, 2).tolist()} <= set(shifts)


def passes(params: Evaluation, test: Examples) -> int:
    plan = plan_evaluation(len(test), test.labels.numpy(), "zero", GREY, params)
    return plan.passes(len(test))


def test_progress_adds_up_to_all_images() -> None:
    params, test = settings(2, images=12), examples(30)
    seen: list[int] = []
    helpers.predict(a_model(), test, params, on_progress=seen.append)
    # Three sets move all images alike, and two each image by itself; 24 shifts of the grid are left, and 6 fractions.
    assert sum(seen) == passes(params, test) == 5 * 30 + (24 + 6) * 12


class Stopped(Exception):  # noqa: N818  # not an error
    """Somebody pulled the plug."""


class Counting(nn.Module):
    """A model that counts its images, and stops after so many."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.model, self.seen, self.limit = a_model(), 0, limit

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        if self.seen > self.limit:
            raise Stopped
        logits: Tensor = self.model(images)
        return logits


@pytest.mark.parametrize("tasks", [0, 1, 2, 3])
def test_interrupted_prediction_goes_on_and_ends_the_same(
    tasks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "MOST_IN_TASK", 5)
    params, test = settings(2), examples(18)
    whole, store, every = helpers.predict(a_model(), test, params), Store(tmp_path), passes(params, test)
    with pytest.raises(Stopped):
        helpers.predict(Counting(every * (2 * tasks + 1) // 8), test, params, store=store)
    kept = len(list(tmp_path.iterdir()))
    seen: list[int] = []
    second = Counting(10**9)
    resumed = helpers.predict(second, test, params, store=store, on_progress=seen.append)
    assert kept < 4
    assert (second.seen == every) == (kept == 0)
    assert sum(seen) == every
    for key, array in predictions.to_arrays(whole).items():
        np.testing.assert_array_equal(predictions.to_arrays(resumed)[key], array)
    third = Counting(0)
    helpers.predict(third, test, params, store=store)
    assert third.seen == 0


@pytest.mark.parametrize("images", [12, "all"])
def test_tasks_of_any_size_give_the_same(images: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    params, test = settings(3, images=images), examples(30)
    whole = predictions.to_arrays(helpers.predict(a_model(), test, params))
    for size in (1, 7, 29):
        monkeypatch.setattr(inference, "MOST_IN_TASK", size)
        for key, array in predictions.to_arrays(helpers.predict(a_model(), test, params)).items():
            np.testing.assert_allclose(array, whole[key], atol=1e-3, err_msg=key)


def test_unlabelled_images_are_taken_for_what_they_are_predicted_as() -> None:
    test = examples(9)
    predicted = predict_evaluation(
        InMemory(test.images, (28, 28)), None, ABOUT, settings(2), inference.local(a_model())
    )
    assert predicted.labels.tolist() == predicted.sets["clean"].predicted.tolist()


def test_distances_of_logits_are_theirs() -> None:
    test, shifts = examples(6), grid(2)
    plan = Plan("zero", GREY, {}, np.arange(6, dtype=np.int32), shifts, of_logits=True)
    arrays = inference.predict(InMemory(test.images, (28, 28)), plan, inference.local(a_model()))
    with torch.no_grad():
        unshifted = a_model()(test.images)
        for row, (dx, dy) in zip(arrays["euclidean"], shifts.tolist(), strict=True):
            logits = a_model()(torch.stack([moved(image, dx, dy, "zero") for image in test.images]))
            np.testing.assert_allclose(row, (logits - unshifted).norm(dim=1), atol=1e-4)
    np.testing.assert_allclose(arrays["scores"], unshifted, atol=1e-5)


def test_too_few_images_are_a_user_error_before_any_forward_pass() -> None:
    class Untouchable(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise AssertionError

    with pytest.raises(UserError, match="31 images can't be drawn from 30"):
        predict(settings(2, images=31), count=30, model=Untouchable())


def test_batches_do_not_show_in_the_answers() -> None:
    images = examples(inference.CPU_BATCH + 3).images
    with torch.no_grad():
        expected = a_model()(images).softmax(1)
    assert torch.allclose(inference.probabilities(a_model(), images), expected, rtol=1e-5)


@pytest.mark.parametrize(("device", "largest"), [("cpu", inference.CPU_BATCH), ("meta", inference.ACCELERATOR_BATCH)])
def test_accelerators_take_larger_batches(device: str, largest: int) -> None:
    sizes = []

    class Recording(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return torch.empty(len(images), 10, device=device)

    images = torch.empty(2 * largest + 1, 1, 1, device=device)
    assert inference.probabilities(Recording(), images).shape == (2 * largest + 1, 10)
    assert sizes == [largest, largest, 1]


def test_model_and_images_stay_as_they_are() -> None:
    test = examples(4)
    model = a_model()
    helpers.predict(model, test, settings(1))
    assert torch.equal(test.images, examples(4).images)
    assert all(torch.equal(now, before) for now, before in zip(model.parameters(), a_model().parameters(), strict=True))


def test_test_set_of_other_images_is_no_matter() -> None:
    large = Examples(torch.nn.functional.pad(examples(3).images, (10,) * 4), examples(3).labels)
    torch.manual_seed(0)
    model = architectures.build("lenet", (1, 48, 48), 10).eval()
    answers = helpers.predict(model, large, settings(1), replace(ABOUT, shape=(1, 48, 48)))
    assert (answers.grid.ink == answers.grid.ink[4]).all()
    assert (answers.grid.ink[4] > 0).all()


ORIGINAL = (30, 36)
PHOTOGRAPHS = coloured(9, size=ORIGINAL)
COLOURED = replace(ABOUT, classes=("red", "green", "blue"), shape=(3, 20, 26), boundary="crop")


def a_coloured_model() -> Classifier:
    torch.manual_seed(0)
    return architectures.build("lenet", (3, 20, 26), 3).eval()


def test_crops_of_coloured_images_agree_with_brute_force() -> None:
    answers = helpers.predict(a_coloured_model(), PHOTOGRAPHS, settings(5), COLOURED)
    assert answers.grid.shifts.tolist() == grid(5).tolist()
    for row, (dx, dy) in enumerate(answers.grid.shifts.tolist()):
        window = PHOTOGRAPHS.images[..., 5 - dy : 25 - dy, 5 - dx : 31 - dx]
        with torch.no_grad():
            expected = a_coloured_model()(window).softmax(1)
        assert answers.grid.predicted[row].tolist() == expected.argmax(1).tolist()
        assert answers.grid.ink[row].tolist() == window.sum((1, 2, 3)).tolist()
    clean = PHOTOGRAPHS.images[..., 5:25, 5:31]
    with torch.no_grad():
        assert answers.sets["clean"].predicted.tolist() == a_coloured_model()(clean).argmax(1).tolist()


def test_sampled_grid_is_part_of_the_whole() -> None:
    whole, drawn = predict(settings(5), count=9).grid, predict(settings(5, shifts=40), count=9).grid
    assert drawn.shifts.tolist() == sample(5, 40, seed=0).tolist()
    places = {tuple(place): row for row, place in enumerate(whole.shifts.tolist())}
    rows = [places[tuple(place)] for place in drawn.shifts.tolist()]
    assert np.array_equal(drawn.predicted, whole.predicted[rows])
    assert np.array_equal(drawn.ink, whole.ink[rows])
    np.testing.assert_allclose(drawn.euclidean, whole.euclidean[rows], atol=1e-3)
    params, test = settings(5, shifts=40), examples(9)
    seen: list[int] = []
    helpers.predict(a_model(), test, params, on_progress=seen.append)
    assert sum(seen) == passes(params, test)


def test_thousand_classes_take_two_bytes_an_answer() -> None:
    torch.manual_seed(0)
    model = architectures.build("mlp", GREY, 1000).eval()
    metadata = replace(ABOUT, classes=tuple(f"class {number}" for number in range(1000)))
    answers = helpers.predict(model, examples(5), settings(1), metadata)
    with torch.no_grad():
        expected = model(examples(5).images).argmax(1)
    assert answers.sets["clean"].predicted.tolist() == expected.tolist()
    assert answers.labels.dtype == answers.grid.predicted.dtype == answers.on_lines.dtype == np.uint16


def test_few_images_share_a_forward_pass_with_other_shifts() -> None:
    sizes = []

    class Recording(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            logits: Tensor = a_model()(images)
            return logits

    predict(settings(3, images=40), count=60, model=Recording())
    assert max(sizes) == 6 * 40
    assert all(size <= inference.CPU_BATCH for size in sizes)
