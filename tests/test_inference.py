import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tf
from torch import Tensor
from torchvision.transforms import InterpolationMode

from shiftlab import inference, models
from shiftlab.classifier import Classifier
from shiftlab.params import Evaluation
from shiftlab.predictions import Predictions
from shiftlab.shifts import DIRECTIONS, NAMED_SETS, line, named_set
from shiftlab.training import INFERENCE_BATCH
from tests.helpers import examples


def a_model() -> Classifier:
    torch.manual_seed(0)
    return models.build("mlp", 28).eval()


def predict(params: Evaluation, count: int = 3) -> Predictions:
    return inference.predict(a_model(), examples(count), params, "digits", "a" * 64, "b" * 64)


def one_by_one(model: Classifier, image: Tensor, dx: int, dy: int) -> tuple[int, float]:
    """The class of one image and its probability, the shift by torchvision."""
    moved = tf.affine(image[None], 0, [dx, dy], 1, [0.0], interpolation=InterpolationMode.NEAREST, fill=[0.0])
    with torch.no_grad():
        probabilities = model(moved).softmax(1)[0]
    return int(probabilities.argmax()), float(probabilities.max())


@pytest.mark.parametrize("radius", [1, 27])
def test_lines_agree_with_brute_force(radius: int) -> None:
    answers = predict(Evaluation(radius=radius, seed=0))
    model = a_model()
    expected = [
        [one_by_one(model, image, dx, dy)[0] for image in examples(3).images] for dx, dy in answers.shifts.tolist()
    ]
    assert answers.predicted.dtype == np.uint8
    assert answers.predicted.tolist() == expected
    for direction in DIRECTIONS:
        assert answers.along(line(direction, radius)).shape == (2 * radius + 1, 3)


def test_sets_agree_with_brute_force() -> None:
    answers = predict(Evaluation(radius=1, seed=7), count=30)
    model = a_model()
    assert list(answers.sets) == list(NAMED_SETS)
    for name, on_set in answers.sets.items():
        assert on_set.shifts.tolist() == named_set(name, 30, seed=7).tolist()
        expected = [
            one_by_one(model, image, dx, dy)
            for image, (dx, dy) in zip(examples(30).images, on_set.shifts.tolist(), strict=True)
        ]
        assert on_set.predicted.tolist() == [digit for digit, _ in expected]
        np.testing.assert_allclose(on_set.confidence, [confidence for _, confidence in expected], rtol=1e-5)


def test_centre_of_the_lines_is_the_clean_set() -> None:
    answers = predict(Evaluation(radius=2, seed=0))
    centre = answers.along(np.zeros((1, 2), dtype=np.int8))[0]
    assert centre.tolist() == answers.sets["clean"].predicted.tolist()


def test_image_without_ink_left_is_called_what_a_blank_one_is() -> None:
    answers = predict(Evaluation(radius=27, seed=0))
    blank = one_by_one(a_model(), torch.zeros(28, 28, dtype=torch.uint8), 0, 0)[0]
    beyond = np.array([[27, 0], [-25, 0], [0, 27], [0, -25], [27, 27], [-24, -24]], dtype=np.int8)
    assert np.unique(answers.along(beyond)).tolist() == [blank]


def test_predictions_know_what_they_are_of() -> None:
    answers = predict(Evaluation(radius=1, seed=0))
    assert (answers.data, answers.data_sha256, answers.weights_sha256) == ("digits", "a" * 64, "b" * 64)
    assert answers.labels.tolist() == examples(3).labels.tolist()
    assert answers.labels.dtype == np.uint8


def test_every_shift_of_the_three_directions_is_there_once() -> None:
    shifts = [tuple(shift) for shift in inference.line_shifts(2).tolist()]
    assert len(shifts) == len(set(shifts)) == 3 * 4 + 1
    for direction in DIRECTIONS:
        assert {tuple(shift) for shift in line(direction, 2).tolist()} <= set(shifts)


def test_progress_adds_up_to_all_images() -> None:
    params = Evaluation(radius=2, seed=0)
    seen: list[int] = []
    inference.predict(a_model(), examples(6), params, "digits", "", "", on_progress=seen.append)
    assert sum(seen) == inference.count(params) * 6 == (5 + 13) * 6


def test_batches_do_not_show_in_the_answers() -> None:
    images = examples(INFERENCE_BATCH + 3).images
    predicted, confidence = inference.classify(a_model(), images)
    with torch.no_grad():
        probabilities = a_model()(images).softmax(1)
    assert predicted.tolist() == probabilities.argmax(1).tolist()
    np.testing.assert_allclose(confidence, probabilities.max(1).values, rtol=1e-5)


def test_model_and_images_stay_as_they_are() -> None:
    test = examples(4)
    model = a_model()
    inference.predict(model, test, Evaluation(radius=1, seed=0), "digits", "", "")
    assert torch.equal(test.images, examples(4).images)
    assert all(torch.equal(now, before) for now, before in zip(model.parameters(), a_model().parameters(), strict=True))
