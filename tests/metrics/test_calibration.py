import numpy as np
import pytest

from shiftlab.metrics import intervals
from shiftlab.metrics.radii import calibration_error


def test_calibration_error_is_guos() -> None:
    confidence = np.array([[0.99, 0.98, 0.97, 0.51], [0.52, 1.0, 0.0, 0.5]])
    right = np.array([[True, True, False, True], [False, True, False, False]])
    expected = 0.0
    for low in np.arange(15) / 15:
        members = (confidence >= low) & ((confidence < low + 1 / 15) | ((low == 14 / 15) & (confidence == 1)))
        if members.any():
            expected += members.mean() * abs(confidence[members].mean() - right[members].mean())
    found = calibration_error(np.tile(confidence, 1000), np.tile(right, 1000))  # of many images there is no bias
    assert found.value == pytest.approx(expected, abs=1e-4)
    assert found.images == 4000


def test_calibration_errors_interval_resamples_images() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random((1, 400)) < 0.3, 3, axis=0)  # what an image's shifts have in common
    found = calibration_error(np.ones((3, 400)), right)
    share = intervals.mean(right[0].astype(float))
    assert [found.value, found.low, found.high] == pytest.approx(
        [1 - share.value, 1 - share.high, 1 - share.low], abs=0.01
    )


def test_perfectly_calibrated_and_perfectly_wrong() -> None:
    sure = np.ones((2, 4))
    assert calibration_error(sure, sure == 1).value == 0
    assert calibration_error(sure, sure == 0).value == 1
    assert calibration_error(sure[:, :1], sure[:, :1] == 0).value == 1
