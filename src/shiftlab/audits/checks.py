"""Is the model asked as it was made to be? Where it is no better than chance, mostly its pixels or classes are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix
from torch import Tensor

from shiftlab.audits.model import Model, PreprocessedModel
from shiftlab.audits.preprocessing import Channels, Preprocessing
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Estimate, share

LOOKED_AT = 200  # images
TRIED = 32  # of them, by whose logits a model is known again
ABOVE = 0.1  # of the way from chance to perfect, that the lower end of the accuracy's interval has to be
IMAGES_A_CLASS = 5  # before the order of classes is looked at
BETTER = 0.05  # of accuracy, from which another way to prepare pixels is worth a word
# What models are often trained with.
USUAL: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "no normalisation": ((0.0,), (1.0,)),
    "mean and std of ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mean and std of 0.5": ((0.5,), (0.5,)),
    "mean and std of MNIST": ((0.1307,), (0.3081,)),
}


@dataclass(frozen=True)
class Check:
    """How a model does on a few unshifted images, and how it would if it were asked otherwise."""

    accuracy: Estimate
    chance: float  # the share of the most frequent class
    otherwise: dict[str, float]  # accuracy by what was changed

    @property
    def held(self) -> bool:
        """Is it far above chance?"""
        return self.accuracy.low > self.chance + ABOVE * (1 - self.chance)

    def hints(self) -> list[str]:
        """A warning where another way to ask would do clearly better."""
        words, value = max(self.otherwise.items(), key=lambda one: one[1], default=("", 0.0))
        if value <= self.accuracy.high + BETTER:
            return []
        return [f"warning: with {words} {value:.1%} would be right: is that how it was trained?"]

    def in_words(self) -> str:
        """For people: what was found, and what else was tried."""
        tried = "; ".join(f"{words} {value:.1%}" for words, value in self.otherwise.items())
        return (
            f"{self.accuracy.value:.1%} of {self.accuracy.images} unshifted images are right "
            f"(chance {self.chance:.1%}); "
            f"tried otherwise: {tried}"
        )


def check(model: Model, preprocessing: Preprocessing, images: Tensor, labels: NDArray[np.int64]) -> Check:
    """Ask the model about a few raw images `(N, C, h, w)`, labelled by its outputs' numbers, in several ways.

    Raises:
        UserError: it fails on them as they are prepared.
    """
    logits = _answers(PreprocessedModel(model, preprocessing), images)
    predicted = logits.argmax(1)
    chance = float(np.bincount(labels).max() / len(labels))
    otherwise = {}
    for words, other in _others(preprocessing):
        try:
            otherwise[words] = float((_answers(PreprocessedModel(model, other), images).argmax(1) == labels).mean())
        except UserError:  # it does not take such inputs
            continue
    if len(labels) >= IMAGES_A_CLASS * len(np.unique(labels)):  # of fewer, some order always fits
        counts = confusion_matrix(labels, predicted, labels=np.arange(logits.shape[1]))
        best = linear_sum_assignment(counts, maximize=True)
        otherwise["the classes in another order"] = float(counts[best].sum() / len(labels))
    return Check(share(predicted == labels), chance, otherwise)


def refuse_chance(found: Check, name: str) -> None:
    """Stop where the model is asked wrongly, or knows nothing.

    Raises:
        UserError: its accuracy is not far above chance; the sentence says what else was tried.
    """
    if not found.held:
        raise UserError(
            f"{name} is not far above chance: {found.in_words()}. Look at --range, --mean and --std, --channels, and "
            "at the order of its classes (--classes); with --any-accuracy it is audited all the same"
        )


def _answers(prepared: PreprocessedModel, images: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: NDArray[np.float32] = torch.cat([prepared(batch) for batch in images.split(32)]).cpu().numpy()
    return found


def _others(asked: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    """Other ways to prepare pixels, that people mix up with the one that is meant."""
    if asked.channels != "grey":
        swapped: Channels = "bgr" if asked.channels == "rgb" else "rgb"
        yield f"channels {swapped}", replace(asked, channels=swapped)
    white = 255.0 if asked.white == 1 else 1.0
    yield f"range 0..{white:g}", replace(asked, white=white)
    for words, (mean, std) in USUAL.items():
        fits = len(mean) == 1 or asked.channels != "grey"
        if fits and (asked.white, asked.mean, asked.std) != (1, mean, std):
            yield words, replace(asked, white=1.0, mean=mean, std=std)
