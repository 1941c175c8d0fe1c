from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from shiftlab import ShiftConsistency
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics.definitions.consistency import consistency_by_image
from shiftlab.shifts.grids import grid
from shiftlab.shifts.transform import shift
from tests.audits.models import Plain, data

IMAGES = data().test.images[:40]


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


def on_raw(plain: Plain, images: Tensor) -> Tensor:
    found: Tensor = plain((images.float() / 255 - 0.1307) / 0.3081)
    return found


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_metric_is_the_metric_whatever_the_batches(boundary: BoundaryName, plain: Plain) -> None:
    network = partial(on_raw, plain)
    metric = ShiftConsistency(radius=2, boundary=boundary)
    for batch in IMAGES.split(13):
        metric.update(network, batch)
    with torch.inference_mode():
        called = [network(shift(IMAGES, dx, dy, boundary)).argmax(1).numpy() for dx, dy in grid(2).tolist()]
    assert metric.compute().item() == pytest.approx(
        consistency_by_image(np.stack(called).astype(np.uint8), grid(2)).mean(), abs=1e-12
    )
    metric.reset()
    assert metric.compute().isnan()


def test_vacated_pixels_are_black_in_normalised_images_too(plain: Plain) -> None:
    raw, normalised = ShiftConsistency(), ShiftConsistency(black=-0.1307 / 0.3081)
    raw.update(partial(on_raw, plain), IMAGES)
    normalised.update(plain, (IMAGES.float() / 255 - 0.1307) / 0.3081)
    assert raw.compute() == pytest.approx(normalised.compute().item(), abs=1e-3)
    assert MetricCollection({"shift": raw})


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(UserError, match="radius is 0"):
        ShiftConsistency(radius=0)
    with pytest.raises(UserError, match="boundary 'crop'"):
        ShiftConsistency(boundary="crop")
