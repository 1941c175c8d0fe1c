import numpy as np
import pytest

from shiftlab.metrics import curves
from tests.helpers import some_predictions


def test_curve_runs_from_left_to_right() -> None:
    curve = curves.along(some_predictions(), "x", 1)
    assert [(step, accuracy.value) for step, accuracy in curve] == [(-1, 2 / 3), (0, 0.0), (1, 0.0)]


def test_curve_over_more_than_was_computed_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        curves.along(some_predictions(), "y", 2)


@pytest.mark.parametrize(
    ("accuracies", "moves"),
    [
        ([[0.9, 0.9, 1.0, 0.9, 0.9]], 2),  # as far as was measured
        ([[0.9, 0.9, 1.0, 0.9, 0.8]], 1),  # to the right it fails
        ([[0.9, 0.8, 1.0, 0.9, 0.9]], 0),  # what it has right farther off does not count
        ([[0.9, 0.9, 1.0, 0.9, 0.9], [0.5, 0.54, 0.6, 0.55, 0.6]], 1),  # in every training
        ([[0.63, 0.7, 0.63]], 1),  # exactly 90%
    ],
)
def test_moves_survived_keep_nine_tenths_of_the_unmoved_accuracy(accuracies: list[list[float]], moves: int) -> None:
    assert curves.moves_survived(np.array(accuracies)) == moves
