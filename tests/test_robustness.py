import math

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftlab import robustness
from shiftlab.predictions import Predictions, SetPredictions
from shiftlab.robustness import ClassScores


def digits(*values: int) -> NDArray[np.uint8]:
    return np.array(values, dtype=np.uint8)


@pytest.mark.parametrize(("right", "images"), [(0, 10), (7, 10), (10, 10), (1, 1), (9789, 10_000), (0, 10_000)])
def test_interval_is_wilsons(right: int, images: int) -> None:
    labels = np.full(images, 3, dtype=np.uint8)
    predicted = labels.copy()
    predicted[right:] = 4
    share = robustness.accuracy(predicted, labels)

    z, p = 1.959963984540054, right / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert share.images == images
    assert share.accuracy == p
    assert share.low == pytest.approx(centre - half, abs=1e-9)
    assert share.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= share.low <= share.accuracy <= share.high <= 1


LABELS = digits(0, 0, 1, 1)


def predictions() -> Predictions:
    """Four images: one mistake more with each step to the right, all wrong with each step to the left."""
    shifts = np.array([[-1, 0], [0, 0], [1, 0], [2, 0]], dtype=np.int8)
    predicted = np.array([[9, 9, 9, 9], [0, 0, 1, 1], [9, 0, 1, 1], [9, 9, 1, 1]], dtype=np.uint8)
    answer = [(name, row) for name, row in (("clean", 1), ("right5", 3))]
    sets = {
        name: SetPredictions(np.zeros((4, 2), dtype=np.int8), predicted[row], np.ones(4, dtype=np.float32))
        for name, row in answer
    }
    return Predictions("digits", "", "", LABELS, sets, shifts, predicted)


def test_accuracy_of_each_set() -> None:
    shares = robustness.accuracies(predictions())
    assert {name: share.accuracy for name, share in shares.items()} == {"clean": 1.0, "right5": 0.5}


def test_curve_runs_from_left_to_right() -> None:
    curve = robustness.curve(predictions(), "x", 1)
    assert [(step, share.accuracy) for step, share in curve] == [(-1, 0.0), (0, 1.0), (1, 0.75)]


def test_curve_over_more_than_was_computed_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        robustness.curve(predictions(), "y", 1)


def test_confusion_has_a_row_for_the_actual_digit() -> None:
    matrix = robustness.confusion(digits(0, 0, 8, 9, 9), digits(0, 1, 1, 9, 9))
    expected = np.zeros((10, 10), dtype=int)
    expected[0, 0] = 1
    expected[1, 0] = 1
    expected[1, 8] = 1
    expected[9, 9] = 2
    assert matrix.tolist() == expected.tolist()


def test_confusion_counts_every_image_once() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 10, (2, 500)).astype(np.uint8)
    matrix = robustness.confusion(predicted, labels)
    assert matrix.shape == (10, 10)
    for actual, called in np.ndindex(10, 10):
        assert matrix[actual, called] == ((labels == actual) & (predicted == called)).sum()


@pytest.mark.filterwarnings("error")
def test_scores_of_each_digit() -> None:
    scores = robustness.per_class(predicted=digits(3, 3, 3, 5, 5), labels=digits(3, 3, 5, 5, 7))
    assert [score.digit for score in scores] == list(range(10))
    assert vars(scores[3]) == pytest.approx({"digit": 3, "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "images": 2})
    assert scores[5] == ClassScores(5, precision=0.5, recall=0.5, f1=0.5, images=2)
    assert scores[7] == ClassScores(7, precision=0.0, recall=0.0, f1=0.0, images=1)
    assert scores[0] == ClassScores(0, precision=0.0, recall=0.0, f1=0.0, images=0)


def test_figures_are_plain_numbers() -> None:
    """They go into JSON and CSV files, where NumPy's would show as such."""
    share = robustness.accuracy(LABELS, LABELS)
    assert [type(value) for value in vars(share).values()] == [float, float, float, int]
    (score, *_) = robustness.per_class(LABELS, LABELS)
    assert [type(value) for value in vars(score).values()] == [int, float, float, float, int]
