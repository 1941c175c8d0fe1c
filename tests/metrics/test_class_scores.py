import numpy as np
import pytest
from numpy.typing import NDArray

from shiftlab.metrics.class_scores import ClassScores, class_scores, confusion_matrix
from tests.helpers import DIGITS


def digits(*values: int) -> NDArray[np.uint8]:
    return np.array(values, dtype=np.uint8)


def test_confusion_has_a_row_for_the_actual_class() -> None:
    matrix = confusion_matrix(digits(0, 0, 8, 9, 9), digits(0, 1, 1, 9, 9), 10)
    expected = np.zeros((10, 10), dtype=int)
    expected[0, 0] = 1
    expected[1, 0] = 1
    expected[1, 8] = 1
    expected[9, 9] = 2
    assert matrix.tolist() == expected.tolist()


def test_confusion_counts_every_image_once() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 10, (2, 500)).astype(np.uint8)
    matrix = confusion_matrix(predicted, labels, 10)
    assert matrix.shape == (10, 10)
    for actual, called in np.ndindex(10, 10):
        assert matrix[actual, called] == ((labels == actual) & (predicted == called)).sum()


@pytest.mark.filterwarnings("error")
def test_scores_of_each_class() -> None:
    scores = class_scores(digits(3, 3, 3, 5, 5), digits(3, 3, 5, 5, 7), DIGITS)
    assert [score.name for score in scores] == list(DIGITS)
    assert vars(scores[3]) == pytest.approx({"name": "3", "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "images": 2})
    assert scores[5] == ClassScores("5", precision=0.5, recall=0.5, f1=0.5, images=2)
    assert scores[7] == ClassScores("7", precision=0.0, recall=0.0, f1=0.0, images=1)
    assert scores[0] == ClassScores("0", precision=0.0, recall=0.0, f1=0.0, images=0)
