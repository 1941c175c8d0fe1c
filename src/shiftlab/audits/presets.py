"""Published protocols, so that a paper's number can be stood beside.

PROTOCOL.md, "Published protocols": an audit gives the exact metrics in the same boundary too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftlab.audits.images import Images
from shiftlab.audits.model import PreprocessedModel
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Estimate, mean, means, proportion
from shiftlab.shifts.boundaries import shift, shift_each
from shiftlab.shifts.grids import grid

BATCH = 256  # images that share a draw, as both repositories' default has it
OFFSETS = 32  # pixels from which Zhang's code draws a crop's corner
PASSES = 5  # of Zhang's code over the images
ROLLED = 3  # pixels, of Chaman's code: shifts are drawn from -3 to 2
SEVERITIES = range(1, 6)  # of MNIST-C, pixels
SENSITIVITY = 5  # pixels, of the map of Kauderer-Abrams that is summed up here
PAIRS = 10_000  # of images of different classes, whose median distance is the unit

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """A model, some images, and where to compute."""

    prepared: PreprocessedModel
    images: Images
    labels: Labels | None
    device: torch.device
    seed: int
    on_progress: Callable[[int], object]

    def batches(self, margin: int = 0) -> Iterator[tuple[Tensor, slice]]:
        """Raw images with so many pixels around the frame, and their places."""
        first = 0
        for raw in self.images.batches(self.prepared.preprocessing, margin, BATCH):
            yield raw.to(self.device), slice(first, first + len(raw))
            first += len(raw)

    def logits(self, raw: Tensor) -> NDArray[np.float32]:
        """Of raw images of the frame's size."""
        with torch.inference_mode():
            found: NDArray[np.float32] = torch.cat([self.prepared(some) for some in raw.split(64)]).cpu().numpy()
        self.on_progress(len(found))
        return found

    def called(self, raw: Tensor) -> NDArray[np.int64]:
        """The classes of raw images of the frame's size."""
        found: NDArray[np.int64] = self.logits(raw).argmax(1)
        return found

    def rng(self) -> np.random.Generator:
        """A generator of the audit's seed."""
        return np.random.default_rng([self.seed, *b"published"])


def zhang2019(asked: Asked) -> dict[str, Estimate]:
    """Making Convolutional Networks Shift-Invariant Again: do two random crops get one answer?

    Five passes; the two corners are drawn once for a whole batch. The stricter metric is of images right in one crop at
    least.
    """
    height, width = asked.prepared.preprocessing.frame
    rng, agreeing, right = asked.rng(), [], []
    for _ in range(PASSES):
        for raw, places in asked.batches(OFFSETS // 2):
            corners = rng.integers(OFFSETS, size=(2, 2))
            first, second = (asked.called(raw[..., y : y + height, x : x + width]) for y, x in corners.tolist())
            agreeing.append(first == second)
            if asked.labels is not None:
                here = asked.labels[places]
                right.append((first == here) | (second == here))
    same = np.concatenate(agreeing)
    found = {"consistency of two crops": mean(same.reshape(PASSES, -1).mean(axis=0))}
    if right and np.concatenate(right).any():
        found["the same, of images right in one crop at least"] = proportion(same[np.concatenate(right)])
    return found


def chaman2021(asked: Asked) -> dict[str, Estimate]:
    """Truly Shift-Invariant Convolutional Neural Networks: do two random circular shifts get one answer?

    Drawn once for a whole batch, from -3 to 2 pixels along each axis. The network has to be padded circularly for the
    theorem to hold.
    """
    rng, agreeing = asked.rng(), []
    for raw, _ in asked.batches():
        drawn = rng.integers(-ROLLED, ROLLED, size=(2, 2)).tolist()
        first, second = (asked.called(shift(raw, dx, dy, "circular")) for dx, dy in drawn)
        agreeing.append(first == second)
    return {"consistency of two circular shifts": proportion(np.concatenate(agreeing))}


def mnist_c(asked: Asked) -> dict[str, Estimate]:
    """MNIST-C's `translate`: accuracy moved by 1 to 5 pixels along both axes, signs drawn for each image.

    Raises:
        UserError: there are no labels.
    """
    if asked.labels is None:
        raise UserError("--protocol mnist-c is of accuracies, which need labels")
    rng, right = asked.rng(), []
    for severity in SEVERITIES:
        shifts = rng.choice([-severity, severity], (len(asked.images), 2)).astype(np.int8)
        found = [
            asked.called(shift_each(raw, shifts[places])) == asked.labels[places] for raw, places in asked.batches()
        ]
        right.append(np.concatenate(found))
    every = {f"accuracy, translate severity {at}": proportion(one) for at, one in zip(SEVERITIES, right, strict=True)}
    return {**every, "accuracy, mean over severities": mean(np.mean(right, axis=0))}


def kauderer2017(asked: Asked) -> dict[str, Estimate]:
    """Quantifying Translation-Invariance in Convolutional Neural Networks: how far do a model's scores move?

    The mean Euclidean distance of an image's scores (here logits) from those of the shifted image, in units of the
    median distance between images of different classes; without labels, of different answers. Mean over all shifts of
    up to 5 pixels, and at the farthest along the axes.
    """
    height, width = asked.prepared.preprocessing.frame
    reach = min(SENSITIVITY, height - 1, width - 1)
    shifts = [tuple(one) for one in grid(reach).tolist() if tuple(one) != (0, 0)]
    distances, scores = [], []
    for raw, _ in asked.batches():
        unshifted = asked.logits(raw)
        scores.append(unshifted)
        moved = (asked.logits(shift(raw, dx, dy)) for dx, dy in shifts)
        distances.append(np.stack([np.linalg.norm(one - unshifted, axis=1) for one in moved]))
    unit = _between_classes(np.concatenate(scores), asked)
    rows = np.concatenate(distances, axis=1) / unit
    ends = [place for place, one in enumerate(shifts) if sorted(map(abs, one)) == [0, reach]]
    values = means(np.stack([rows.mean(axis=0), rows[ends].mean(axis=0)]))
    names = (f"sensitivity, mean up to {reach} px", f"sensitivity, {reach} px along an axis")
    images = rows.shape[1]
    return {
        name: Estimate(float(values.value[at]), float(values.low[at]), float(values.high[at]), images)
        for at, name in enumerate(names)
    }


def _between_classes(scores: NDArray[np.float32], asked: Asked) -> float:
    """The median distance between the scores of images of different classes, of pairs that are drawn."""
    classes = scores.argmax(1) if asked.labels is None else asked.labels
    first, second = asked.rng().integers(len(scores), size=(2, PAIRS))
    apart = classes[first] != classes[second]
    if not apart.any():
        raise UserError("--protocol kauderer2017 needs images of two classes at least")
    return float(np.median(np.linalg.norm(scores[first[apart]] - scores[second[apart]], axis=1)))


@dataclass(frozen=True)
class Preset:
    """A published protocol."""

    paper: str
    boundary: BoundaryName  # in which the audit gives the exact metrics beside
    measure: Callable[[Asked], dict[str, Estimate]]
    passes: int  # forward passes for each image
    margin: int = 0  # pixels around the frame


PRESETS = {
    "zhang2019": Preset("Zhang 2019, antialiased-cnns", "crop", zhang2019, 2 * PASSES, OFFSETS // 2),
    "chaman2021": Preset("Chaman & Dokmanic 2021, truly_shift_invariant_cnns", "circular", chaman2021, 2),
    "mnist-c": Preset("Mu & Gilmer 2019, MNIST-C", "zero", mnist_c, len(SEVERITIES)),
    "kauderer2017": Preset("Kauderer-Abrams 2017", "zero", kauderer2017, (2 * SENSITIVITY + 1) ** 2),
}


def of(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise UserError(f"--protocol is {name!r}: choose of {', '.join(PRESETS)}")
    return PRESETS[name]
