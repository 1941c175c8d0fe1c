"""Forward passes over shifted test sets."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shiftlab.data import Examples
from shiftlab.params import Evaluation
from shiftlab.predictions import Predictions, SetPredictions
from shiftlab.shifts import DIRECTIONS, NAMED_SETS, line, named_set, shift, shift_each
from shiftlab.training import INFERENCE_BATCH


def classify(model: nn.Module, images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The predicted class and its probability for raw images `(N, H, W)`; both results are `(N,)`."""
    with torch.inference_mode():
        probabilities = torch.cat([model(batch).softmax(1) for batch in images.split(INFERENCE_BATCH)])
        confidence, predicted = probabilities.max(1)
    return predicted.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()


def predict(
    model: nn.Module,
    test: Examples,
    params: Evaluation,
    data: str,
    data_sha256: str,
    weights_sha256: str,
    on_progress: Callable[[int], object] = lambda *_: None,
) -> Predictions:
    """The answers of `model`, in evaluation mode, on the named sets and along the three directions.

    Args:
        data, data_sha256, weights_sha256: what the answers are to, kept with them.
        on_progress: called with the number of images classified since the last call.
    """

    def answers(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        result = classify(model, images)
        on_progress(len(images))
        return result

    sets = {}
    for name in NAMED_SETS:
        shifts = named_set(name, len(test), params.seed)
        sets[name] = SetPredictions(shifts, *answers(shift_each(test.images, shifts)))
    lines = line_shifts(params.radius)
    predicted = np.stack([answers(shift(test.images, dx, dy))[0] for dx, dy in lines.tolist()])
    labels = test.labels.to(torch.uint8).cpu().numpy()
    return Predictions(data, data_sha256, weights_sha256, labels, sets, lines, predicted)


def line_shifts(radius: int) -> NDArray[np.int8]:
    """Every shift along the three directions once, `(S, 2)`."""
    return np.unique(np.concatenate([line(direction, radius) for direction in DIRECTIONS]), axis=0)


def count(params: Evaluation) -> int:
    """How many times `predict` classifies the whole test set."""
    return len(NAMED_SETS) + len(line_shifts(params.radius))
