"""Confusion matrix, and each class's precision, recall and F1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from shiftlab.shifts.predictions import Labels


def confusion_matrix(predicted: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """Return the counts of images, `(classes, classes)`: row the actual class, column the predicted one."""
    matrix: NDArray[np.int64] = sklearn.metrics.confusion_matrix(labels, predicted, labels=np.arange(classes))
    return matrix


@dataclass(frozen=True)
class ClassScores:
    """One class's scores, in 0..1; where a class is never predicted its precision counts as 0."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


def class_scores(predicted: Labels, labels: Labels, names: Sequence[str]) -> list[ClassScores]:
    """Return precision, recall and F1 of each class, of predictions and labels `(N,)`."""
    numbers = np.arange(len(names))
    scores = sklearn.metrics.precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0.0)
    return [ClassScores(*row) for row in zip(names, *(column.tolist() for column in scores), strict=True)]
