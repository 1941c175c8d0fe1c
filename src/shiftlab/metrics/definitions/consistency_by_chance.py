"""Consistency by chance: what a network with the same errors has if it draws them anew at each shift."""

import numpy as np

from shiftlab.metrics.intervals import RESAMPLES, Floats, bootstrap_counts
from shiftlab.metrics.registry import metric
from shiftlab.metrics.sampling import Design
from shiftlab.shifts.predictions import Predictions


@metric(label="consistency by chance", over="resamples")
def consistency_by_chance(predictions: Predictions) -> tuple[float, Floats]:
    """Return the proportion of pairs of shifts that agree by chance given the class, and its resamples.

    PROTOCOL.md, "Corrected consistency": with P_s(c|y) the proportion of the images of class y whose prediction under
    shift s is c, the mean over images and pairs of different shifts of the sum over c of P_s(c|y) P_t(c|y).
    """
    predicted, labels = predictions.grid.predicted, predictions.grid_labels
    design, images = Design.of(predictions.grid.shifts), len(labels)
    change = np.zeros((len(predicted), RESAMPLES + 1))
    if not design.complete:
        change[:, 1:] = design.resampled()
    pairs, growth = design.pairs(np.ones((len(predicted), 1)))
    all_pairs = pairs + (growth * change).sum(axis=0)
    chance = np.zeros(RESAMPLES + 1)
    for label in np.unique(labels):
        members = labels == label
        counts = np.concatenate([np.ones((members.sum(), 1)), bootstrap_counts(images)[members]], axis=1)
        class_counts = counts.sum(axis=0)
        # Small whole numbers: single precision is exact, and twice as fast.
        class_predicted, exact_counts = predicted[:, members], counts.astype(np.float32)
        for prediction in np.unique(class_predicted):
            proportions = (
                (class_predicted == prediction).astype(np.float32) @ exact_counts / np.maximum(class_counts, 1)
            )
            pairs, growth = design.pairs(proportions)
            if not design.complete:
                pairs = pairs + (growth * change).sum(axis=0)
            chance += class_counts * pairs / (images * all_pairs)
    return float(chance[0]), chance[1:]
