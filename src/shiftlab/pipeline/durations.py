"""How long stages are expected to take, from their parameters and a table of speeds."""

from collections.abc import Iterable

import numpy as np

from shiftlab.config.params import Evaluation, Params
from shiftlab.data import sources
from shiftlab.shifts import grids

# Seconds an image, in training (forward and backward) and in prediction, and of a stage without any: measured with one
# thread on an AMD EPYC of 2021, two stages at a time. Only ratios count: what stages take here corrects them all.
TRAIN = {"mlp": 1.0e-4, "lenet": 1.7e-4, "lenet_shifts": 1.8e-4, "resnet": 3.0e-3, "invariant": 1.7e-3}
PREDICT = {"mlp": 1.2e-5, "lenet": 2.5e-5, "lenet_shifts": 2.5e-5, "resnet": 5.6e-4, "invariant": 3.4e-4}
START = {"download": 9.0, "train": 9.0, "predict": 7.5, "evaluate": 9.0, "compare": 13.0}
UNKNOWN_S = 60.0  # of a stage that is not in the table
UNKNOWN_IMAGES = (8_000, 2_000)  # training, test: a guess for a folder, which has not been counted yet
PORTABLE = 1.5  # times as long as native, where the processor has AVX-512


def expected(params: Params, stages: Iterable[str]) -> dict[str, float]:
    """Return the seconds that each stage is expected to take with one thread, two stages at a time."""
    train, test = images(params)
    seconds = {}
    for stage in stages:
        kind, _, of = stage.partition("@")
        model = of.partition("-")[0]
        seconds[stage] = START.get(kind, UNKNOWN_S)
        if kind == "train" and model in params.models:
            seconds[stage] += params.models[model].epochs * train * TRAIN.get(model, TRAIN["resnet"])
        elif kind == "predict":
            passes = len(params.evaluation.boundaries) * forward_passes(params.evaluation, test)
            seconds[stage] += passes * PREDICT.get(model, PREDICT["resnet"])
        elif kind == "evaluate":
            seconds[stage] *= len(params.evaluation.boundaries) * len(params.seeds)
    return seconds


def forward_passes(evaluation: Evaluation, test: int) -> int:
    """Return approximately how many images a model classifies in one boundary mode."""
    grid = grids.sample(evaluation.radius, evaluation.shifts, evaluation.seed)
    shifts = np.unique(np.concatenate([grid, grids.line_shifts(evaluation.radius)]), axis=0)
    images = test if evaluation.images == "all" else min(test, evaluation.images)
    return len(grids.NAMED_SETS) * test + (len(shifts) + len(grids.FRACTIONS) - 3) * images


def images(params: Params) -> tuple[int, int]:
    """Return how many images models learn from, and how many they are tested on."""
    data = params.data
    source = sources.get(data.source)
    train, test = source.images or UNKNOWN_IMAGES
    train = _part(data.train, train - _part(data.validation, train))
    return train, _part(data.test, test) if source.has_test_images else test


def _part(part: float | None, total: int) -> int:
    """Return how many of a total `part` is: a number of images, or a proportion; None: all."""
    if part is None:
        return total
    return part if isinstance(part, int) else round(part * total)
