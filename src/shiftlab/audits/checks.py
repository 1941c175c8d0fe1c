"""Sanity checks of the preprocessing: a model that is no better than chance mostly gets other pixels or classes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix
from torch import Tensor

from shiftlab.audits.images import Images, PreparedImages
from shiftlab.audits.model import Model, PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import OutputType
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Estimate, proportion

IMAGES = 200  # that a model is checked on
FINGERPRINT = 32  # of these, by whose logits a model is known again
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
    """The accuracy of a model on a few unshifted images, and with other preprocessing."""

    accuracy: Estimate
    chance: float  # the share of the most frequent class
    otherwise: dict[str, float]  # accuracy by what was changed

    @property
    def passed(self) -> bool:
        """Is the accuracy far above chance?"""
        return self.accuracy.low > self.chance + ABOVE * (1 - self.chance)

    def __str__(self) -> str:
        tried = "; ".join(f"{change} {value:.1%}" for change, value in self.otherwise.items())
        return (
            f"{self.accuracy.value:.1%} of {self.accuracy.images} unshifted images are right "
            f"(chance {self.chance:.1%}); tried otherwise: {tried}"
        )

    def warnings(self) -> list[str]:
        """Return a warning where another preprocessing is clearly better."""
        best = max(self.otherwise, key=self.otherwise.__getitem__, default="")
        if self.otherwise.get(best, 0) <= self.accuracy.high + BETTER:
            return []
        return [f"warning: with {best} {self.otherwise[best]:.1%} would be right: is that how it was trained?"]


def first_images(images: Images, preprocessing: Preprocessing, seed: int) -> tuple[list[int], Tensor]:
    """Return the places of the images that a model is checked on, and their raw pixels `(N, C, h, w)`."""
    places = np.random.default_rng(seed).permutation(len(images))[:IMAGES].tolist()
    return places, PreparedImages(images, preprocessing).at(places, 0)


def with_output_type(model: Model, preprocessing: Preprocessing, images: Tensor, kind: OutputType | None) -> Model:
    """Return a model of whose outputs it is settled what they are, by `kind` or by those of raw images."""
    if kind is None and model.output_type is None:
        preprocessed = PreprocessedModel(model, preprocessing).eval()
        _logits(preprocessed, images[:FINGERPRINT])
        kind = preprocessed.output_type
    return replace(model, output_type=kind or model.output_type)


def refuse_constant(logits: NDArray[np.float32], images: Tensor, name: str) -> None:
    """Refuse a model that answers different raw images alike: its inputs are wrong."""
    if len(images.flatten(1).unique(dim=0)) > 1 and np.ptp(logits, axis=0).max() <= 1e-6 * max(1, np.abs(logits).max()):
        raise UserError(
            f"{name} answers {len(images)} different images alike, to the last digit, so that its inputs or "
            "weights must be wrong: look at --range, --mean and --std, --channels and --layout; with --any-accuracy it "
            "is audited all the same"
        )


def check(model: Model, preprocessing: Preprocessing, images: Tensor, labels: NDArray[np.int64]) -> Check:
    """Measure a model's accuracy on a few raw images `(N, C, h, w)`, labelled by its outputs' numbers, several ways."""
    logits = _logits(PreprocessedModel(model, preprocessing), images)
    predicted = logits.argmax(1)
    chance = float(np.bincount(labels).max() / len(labels))
    otherwise = {}
    for change, other in _alternatives(preprocessing):
        try:
            otherwise[change] = float((_logits(PreprocessedModel(model, other), images).argmax(1) == labels).mean())
        except UserError:  # it does not take such inputs
            continue
    if len(labels) >= IMAGES_A_CLASS * len(np.unique(labels)):  # of fewer, some order always fits
        counts = confusion_matrix(labels, predicted, labels=np.arange(logits.shape[1]))
        best = linear_sum_assignment(counts, maximize=True)
        otherwise["the classes in another order"] = float(counts[best].sum() / len(labels))
    return Check(proportion(predicted == labels), chance, otherwise)


def _logits(prepared: PreprocessedModel, images: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = torch.cat([prepared(batch) for batch in images.split(32)]).cpu().numpy()
    return logits


def _alternatives(preprocessing: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    """Yield preprocessings that people mix up with this one, each with its name."""
    if preprocessing.channels == "rgb":
        yield "channels bgr", replace(preprocessing, channels="bgr")
    elif preprocessing.channels == "bgr":
        yield "channels rgb", replace(preprocessing, channels="rgb")
    white = 255 if preprocessing.white == 1 else 1
    yield f"range 0..{white}", replace(preprocessing, white=white)
    for name, (mean, std) in USUAL.items():
        alternative = replace(preprocessing, white=1, mean=mean, std=std)
        if alternative != preprocessing and (preprocessing.channels != "grey" or len(mean) == 1):
            yield name, alternative
