"""Made-up predictions of trainings, from which all that follows a study's training can be tested at once."""

from typing import Any

import numpy as np

from shiftlab.config.params import Params, Study, Variant
from shiftlab.shifts.grids import NAMED_SETS, line_shifts, sample
from shiftlab.shifts.predictions import GridPredictions, Predictions, SetPredictions
from shiftlab.study import summary, trial
from shiftlab.study.trials import Trials
from tests.helpers import ABOUT, PARAMETERS

VARIANTS: dict[str, Any] = {
    "max": {},
    "blurred": {"components": {"downsampling": "blurred max"}},
    "polyphase": {"components": {"downsampling": "polyphase max", "padding": "circular", "head": "max"}},
    "moved": {"augmentation": {"kind": "shifts", "pixels": 3}},
    "dense": {"architecture": "mlp"},
    "wide": {"canvas": 48},
}
RIGHT = {"max": 0.6, "blurred": 0.9, "polyphase": 1.0, "moved": 0.95, "dense": 0.3, "wide": 0.7}  # how often, moved
CLAIMS: dict[str, Any] = {
    "convolution": {
        "says": "Convolution helps.",
        "by": "the notebook, Part A",
        "contrasts": [
            {"first": "max", "second": "dense", "metric": "random5", "boundary": "zero"},
            {"first": "max", "second": "dense", "metric": "consistency", "boundary": "circular", "secondary": True},
        ],
    },
    "blur": {
        "says": "A blur harms.",
        "by": "the notebook, Part B",
        "contrasts": [{"first": "blurred", "second": "max", "metric": "random5", "boundary": "zero", "sign": "-"}],
    },
    "polyphase": {
        "says": "It is exact.",
        "by": "somebody",
        "contrasts": [{"first": "polyphase", "metric": "consistency", "boundary": "circular", "exactly": 1.0}],
    },
    "same": {
        "says": "What is the same is not.",
        "by": "the notebook, Part C",
        "contrasts": [{"first": "max", "second": "max", "metric": "random5", "boundary": "zero"}],
    },
    "both": {
        "says": "It depends.",
        "by": "the notebook, Part D",
        "contrasts": [
            {"first": "blurred", "second": "max", "metric": "random5", "boundary": "zero", "on": "a blur"},
            {"first": "dense", "second": "max", "metric": "random5", "boundary": "zero", "on": "no convolution"},
        ],
    },
    "augmentation": {
        "says": "Moving outweighs <components>.",
        "by": "others",
        "contrasts": [
            {
                "first": "moved",
                "second": "max",
                "metric": "random5",
                "boundary": "zero",
                "beyond": [["blurred", "max"]],
                "on": "a frame",
            },
            {
                "on": "a canvas",
                "first": "wide",
                "second": "wide",
                "metric": "distance 3",
                "second_metric": "distance 3",
                "boundary": "canvas",
            },
        ],
    },
}


def study(**otherwise: object) -> Study:
    values = {**PARAMETERS["study"], "name": ["mine"], "seeds": [0, 1, 2], "variants": VARIANTS, "claims": CLAIMS}
    return Params.model_validate({**PARAMETERS, "study": {**values, "radius": 5, **otherwise}}).study


def predictions(right: float, seed: int, radius: int, images: int = 80) -> Predictions:
    """Return those of a network that is right so often when images are moved, and nearly always when not."""
    rng = np.random.default_rng([seed, int(1000 * right)])
    labels = rng.integers(0, 10, images).astype(np.uint8)

    def predicted(share: float, *shape: int) -> np.ndarray:
        wrong = rng.random((*shape, images)) > share
        return np.where(wrong, (labels + rng.integers(1, 10, wrong.shape)) % 10, labels).astype(np.uint8)

    shifts, lines = sample(radius, 16, 0), line_shifts(radius)
    nothing = np.zeros((len(shifts), images), dtype=np.float16)
    sets = {
        name: SetPredictions(
            np.zeros((images, 2), dtype=np.int8),
            predicted(0.99 if name == "clean" else right),
            np.ones(images, dtype=np.float32),
        )
        for name in NAMED_SETS
    }
    grid = GridPredictions(
        np.arange(images, dtype=np.int32),
        shifts,
        predicted(right, len(shifts)),
        confidence=nothing,
        euclidean=nothing,
        cosine=nothing,
        ink=np.ones((len(shifts), images), dtype=np.int32),
    )
    fractions = np.zeros(1, dtype=np.float32)
    return Predictions(ABOUT, labels, sets, lines, predicted(right, len(lines)), fractions, predicted(right, 1), grid)


def trials(name: str, variant: Variant, given: Study) -> Trials:
    metadata = {
        "variant": name,
        **variant.model_dump(),
        "data": "digits",
        "data_md5": "a" * 32,
        "shape": [1, 28, 28],
        "radius": 5,
        "parameters": 14_458,
        "multiply_adds": 1_467_968,
        "made_on": {"processor": "none"},
    }
    boundaries = trial.boundaries(variant)
    of_seeds = {(seed, boundary): predictions(RIGHT[name], seed, 5) for seed in given.seeds for boundary in boundaries}
    return Trials(metadata, dict.fromkeys(given.seeds, 0.9 + 0.01 * RIGHT[name]), of_seeds)


def summarised(**otherwise: object) -> dict[str, Any]:
    given = study(**otherwise)
    return summary.summarise(
        given, {name: trials(name, variant, given) for name, variant in given.full_variants.items()}
    )
