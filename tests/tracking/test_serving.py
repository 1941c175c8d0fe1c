import json

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from shiftlab.models import architectures
from shiftlab.tracking.serving import ServedModel
from tests.helpers import DIGITS, GREY, coloured, examples

COLOURED = (3, 20, 26)


def served(shape: tuple[int, int, int] = GREY, classes: tuple[str, ...] = DIGITS) -> ServedModel:
    torch.manual_seed(0)
    return ServedModel(architectures.build("lenet", shape, len(classes)).eval(), shape, classes)


RAW = examples(4).images[:, 0].numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_whole_pixels_of_any_type_get_one_answer(dtype: type[np.number]) -> None:
    answers = served().predict(RAW.astype(dtype))
    assert answers.shape == (4, 10)
    assert np.array_equal(answers, served().predict(RAW))


def test_colours_have_an_axis() -> None:
    images = coloured(5).images.numpy()
    answers = served(COLOURED, ("red", "green", "blue")).predict(images)
    assert answers.shape == (5, 3)


def with_pixel(value: float) -> NDArray[np.float64]:
    images = RAW.astype(float)
    images[0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (RAW / 255, "pixels go from 0 to 1, as those scaled to 0..1 do"),
        (np.round(RAW / 255), "scaled to 0..1"),
        (with_pixel(0.5), "as those scaled to 0..1 do"),
        (with_pixel(-1), "pixels go from -1 to 255"),
        (with_pixel(256), "pixels go from 0 to 256"),
        (with_pixel(np.nan), "no number"),
        (with_pixel(np.inf), "no number"),
        (RAW[0], r"the shape is (28, 28), which lacks an axis for the number of images"),
        (RAW[:, :27], "the shape is (4, 27, 28)"),
        (np.repeat(RAW[..., np.newaxis], 3, axis=3), "the shape is (4, 28, 28, 3)"),
        (RAW[:, np.newaxis], "the shape is (4, 1, 28, 28)"),
        (RAW[:0], "there is no image"),
        (RAW > 100, "the images hold bool, not numbers"),
        (RAW.astype(str), "not numbers"),
        (np.array(5), "the shape is ()"),
    ],
)
def test_what_can_be_misread_is_refused_in_one_sentence(images: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(MlflowException) as caught:
        served().predict(images)
    assert reason in caught.value.message
    assert "expected are raw grey images" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.get_http_status_code() == 400
    assert len(json.dumps(caught.value.message)) < 300


def test_blank_image_is_an_image() -> None:
    assert np.isfinite(served().predict(np.zeros((2, 28, 28)))).all()
