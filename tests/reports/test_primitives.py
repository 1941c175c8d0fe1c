from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shiftlab.metrics.intervals import Estimate, Estimates
from shiftlab.reports import primitives
from shiftlab.reports.primitives import Line, Panel

DIGITS = "0123456789"
LONG = "a model with a rather long name, seed 4294967295"


def panels(top: float = 0.9) -> bytes:
    estimates = [Estimate(top - abs(step) / 10, 0.1, 0.9, 359) for step in range(-2, 3)]
    lines = {
        "mlp": Line.of(range(-2, 3), estimates),
        LONG: Line([-2, 0, 2], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [0.2, 0.3, 0.4]),
    }
    row = [Panel(lines, "shift", "accuracy", name) for name in ("x", "y")]
    return primitives.panels([row, row], "Accuracy against shift")


def maps(top: float = 0.9) -> bytes:
    ramp = np.linspace(0, top, 25).reshape(5, 5)
    return primitives.maps(
        {"accuracy": {"mlp": ramp, LONG: ramp.T}, "agreement": {"mlp": 1 - ramp, LONG: ramp}}, "Maps"
    )


def phases(top: float = 0.9) -> bytes:
    ramp, flat = np.linspace(0, top, 16).reshape(4, 4), np.full((4, 4), 0.5)
    return primitives.phases({"mlp": Estimates(ramp, ramp / 2, ramp), LONG: Estimates(flat, flat, flat)}, "By phase")


def confusions(wrong: int = 3) -> bytes:
    matrix = np.diag(np.arange(10))  # no image of the digit 0
    matrix[4, 9] = wrong
    return primitives.confusions({"mlp": {"clean": matrix, "right5": matrix.T}}, DIGITS, "90.00% right")


def gallery(grey: int = 255) -> bytes:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[5:20, 10:14] = grey
    return primitives.gallery(
        {"most fragile": [(image, "a 1")] * 3, "most robust": [(image.T, "a 7\nnever breaks")]}, "Digits"
    )


def one_image(confidence: float = 0.5) -> bytes:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[5:20, 10:14] = 255
    answers = {"mlp": ("1", 0.99), "lenet": ("7", confidence)}
    pictures = {"as it is": image, "moved": np.roll(image, 5, axis=1)}
    return primitives.one_image(pictures, {"as it is": answers, "moved": answers}, "Test image 0")


def against_shift(last: float = 0.5) -> bytes:
    falling = np.array([1.0, 0.9, 0.7, last])
    return primitives.against_shift({"mlp": falling, LONG: falling - 0.1, "same": falling}, 2, "Classified right (%)")


DRAW = pytest.mark.parametrize("draw", [panels, maps, phases, confusions, gallery, one_image, against_shift])


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


@pytest.mark.parametrize(
    ("draw", "other"),
    [(panels, 0.8), (maps, 0.5), (phases, 0.4), (confusions, 4), (gallery, 99), (one_image, 0.6), (against_shift, 0.6)],
)
def test_other_figures_give_another_picture(draw: Callable[..., bytes], other: float) -> None:
    assert draw() != draw(other)


def test_one_panel_of_one_line_is_enough() -> None:
    assert primitives.panels([[Panel({"mlp": Line([0], [1], [0], [1])}, "x", "y")]], "one").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_nothing_right_can_be_drawn() -> None:
    nothing = np.zeros((10, 10))
    assert primitives.confusions({"": {"": nothing.astype(np.int64)}}, DIGITS, "nothing").startswith(b"\x89PNG")
    assert primitives.maps({"accuracy": {"mlp": nothing}}, "nothing", limits=None).startswith(b"\x89PNG")
    assert primitives.maps({"agreement": {"mlp": np.full((3, 3), np.nan)}}, "unknown").startswith(b"\x89PNG")
    assert primitives.gallery({"most fragile": [], "most robust": []}, "nothing").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_hundreds_of_classes_have_a_picture() -> None:
    names = [f"a class with a long name, number {number}" for number in range(300)]
    matrix = np.random.default_rng(0).integers(0, 9, (300, 300))
    assert primitives.confusions({"mlp": {"clean": matrix}}, names, "300 classes").startswith(b"\x89PNG")
    assert primitives.confusions({"mlp": {"clean": matrix[:20, :20]}}, names[:20], "20").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_sample_of_a_grid_leaves_gaps() -> None:
    ramp = np.linspace(0, 1, 25).reshape(5, 5)
    ramp[::2, 1:3] = np.nan
    assert primitives.maps({"accuracy": {"mlp": ramp}}, "a sample").startswith(b"\x89PNG")
    assert primitives.phases({"mlp": Estimates(ramp, ramp, ramp)}, "a sample").startswith(b"\x89PNG")


def test_colours_are_shown() -> None:
    red = np.zeros((20, 26, 3), dtype=np.uint8)
    red[..., 0] = 255
    drawn = primitives.gallery({"most fragile": [(red, "red")]}, "In colour")
    with Image.open(BytesIO(drawn)) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert (255, 0, 0) in colours
