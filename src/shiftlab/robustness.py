"""Every figure, arrays in, arrays out. PROTOCOL.md defines them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from shiftlab.predictions import Predictions
from shiftlab.shifts import line

CLASSES = np.arange(10)


@dataclass(frozen=True)
class Accuracy:
    """A share of images classified right, with its 95% Wilson interval. All but `images` are in 0..1."""

    accuracy: float
    low: float
    high: float
    images: int


def accuracy(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Accuracy:
    """The accuracy of predictions `(N,)` on labels `(N,)`, interval after Wilson (1927)."""
    right, images = int((predicted == labels).sum()), len(labels)
    interval = binomtest(right, images).proportion_ci(0.95, method="wilson")
    return Accuracy(right / images, float(interval.low), float(interval.high), images)


def accuracies(predictions: Predictions) -> dict[str, Accuracy]:
    """The accuracy on each named evaluation set."""
    return {name: accuracy(answers.predicted, predictions.labels) for name, answers in predictions.sets.items()}


def curve(predictions: Predictions, direction: str, radius: int) -> list[tuple[int, Accuracy]]:
    """Accuracy at each step -radius..radius along a direction, steps in pixels."""
    rows = predictions.along(line(direction, radius))
    return [
        (step, accuracy(row, predictions.labels)) for step, row in zip(range(-radius, radius + 1), rows, strict=True)
    ]


def confusion(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts of images, `(10, 10)`: row the actual digit, column the predicted one."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=CLASSES)
    return matrix


@dataclass(frozen=True)
class ClassScores:
    """One digit's scores, in 0..1; where a digit is never predicted its precision counts as 0."""

    digit: int
    precision: float
    recall: float
    f1: float
    images: int


def per_class(predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> list[ClassScores]:
    """Precision, recall and F1 of each digit."""
    columns = precision_recall_fscore_support(labels, predicted, labels=CLASSES, zero_division=0.0)
    return [
        ClassScores(int(digit), float(precision), float(recall), float(f1), int(images))
        for digit, precision, recall, f1, images in zip(CLASSES, *columns, strict=True)
    ]
