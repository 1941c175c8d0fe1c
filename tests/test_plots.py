from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shiftlab import plots
from shiftlab.robustness import Accuracy


def curve(top: float) -> list[tuple[int, Accuracy]]:
    return [(step, Accuracy(top - abs(step) / 10, 0.1, 0.9, 359)) for step in range(-2, 3)]


def curves(top: float = 0.9) -> bytes:
    labels = {"mlp": curve(top), "a model with a rather long name, seed 4294967295": curve(0.5)}
    return plots.curves({"x": labels, "y": labels, "diagonal": labels}, "digits")


def confusion(wrong: int = 3) -> bytes:
    matrix = np.diag(np.arange(10))  # no image of the digit 0
    matrix[4, 9] = wrong
    return plots.confusion(matrix, "mlp, seed 0, on digits clean: 90.00% right")


def one_image(confidence: float = 0.5) -> bytes:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[5:20, 10:14] = 255
    answers = {"mlp": (1, 0.99), "lenet": (7, confidence)}
    pictures = {"as it is": image, "moved": np.roll(image, 5, axis=1)}
    return plots.one_image(pictures, {"as it is": answers, "moved": answers}, "Test image 0")


DRAW = pytest.mark.parametrize("draw", [curves, confusion, one_image])


@DRAW
def test_picture_is_a_png_with_something_on_it(draw: Callable[[], bytes]) -> None:
    with Image.open(BytesIO(draw())) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        colours = picture.convert("L").getcolors()
    assert colours is not None
    assert len(colours) > 20
    assert max(count for count, _ in colours) < 0.99 * sum(count for count, _ in colours)


@DRAW
def test_same_figures_give_the_same_bytes(draw: Callable[[], bytes]) -> None:
    assert draw() == draw()


@pytest.mark.parametrize(("draw", "other"), [(curves, 0.8), (confusion, 4), (one_image, 0.6)])
def test_other_figures_give_another_picture(draw: Callable[..., bytes], other: float) -> None:
    assert draw() != draw(other)


def test_one_direction_of_one_model_is_enough() -> None:
    assert plots.curves({"y": {"mlp": curve(0.9)}}, "digits").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_set_with_nothing_right_can_be_drawn() -> None:
    assert plots.confusion(np.zeros((10, 10), dtype=np.int64), "nothing").startswith(b"\x89PNG")
