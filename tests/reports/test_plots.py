from dataclasses import replace
from io import BytesIO

import pytest
import torch
from PIL import Image

from shiftlab.config.params import BoundaryName
from shiftlab.reports import plots
from tests.helpers import examples
from tests.metrics.test_comparison import answers, found


def test_every_metric_has_a_picture_and_images_stay_as_they_are() -> None:
    images = examples(4).images
    drawn = plots.of_comparison(answers(), found(), images)
    kinds = ("accuracy", "maps", "sensitivity", "radius", "classes", "phase", "fractions", "confusion")
    expected = {f"{boundary}-{kind}" for boundary in ("zero", "circular") for kind in kinds}
    expected |= {f"{boundary}-gallery-{model}" for boundary in ("zero", "circular") for model in ("mlp", "lenet")}
    assert set(drawn) == expected | {"image-0"}
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    assert images.equal(examples(4).images)


def test_answer_in_one_picture_is_small_and_leaves_images_as_they_are() -> None:
    images = examples(4).images
    with Image.open(BytesIO(plots.against_shift(found(), images))) as drawn:
        assert drawn.size == (800, 576)
    assert images.equal(examples(4).images)


@pytest.mark.parametrize(
    ("boundary", "dark", "cut_from"), [("zero", 0, 1), ("zero", 1, 2), ("zero", 27, None), ("circular", 0, None)]
)
def test_shifts_that_cut_much_off_are_known(boundary: BoundaryName, dark: int, cut_from: int | None) -> None:
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    images[..., : 28 - dark] = 100  # each column is more than a twentieth of what the narrowest has, and less of all 28
    images[..., 27 - dark] = 255
    some = next(one for (_, _, of), one in found().items() if of == boundary)
    assert plots._cut_from(replace(some, radius=3), images) == cut_from
