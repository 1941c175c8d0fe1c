"""Published protocols, so that a paper's number can be stood beside: what is predicted, and what is computed of it.

PROTOCOL.md, "Published protocols": an audit gives the exact metrics in the same boundary mode too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics.intervals import Estimate, mean, proportion
from shiftlab.shifts.grids import Shifts, grid
from shiftlab.shifts.inference import Plan
from shiftlab.shifts.store import Arrays

BATCH = 256  # images that share a draw, as both repositories' default has it
OFFSETS = 32  # pixels from which Zhang's code draws a crop's corner
PASSES = 5  # of Zhang's code over the images
ROLLED = 3  # pixels, of Chaman's code: shifts are drawn from -3 to 2
SEVERITIES = range(1, 6)  # of MNIST-C, pixels
SENSITIVITY = 5  # pixels, of the map of Kauderer-Abrams that is summed up here
PAIRS = 10_000  # of images of different classes, whose median distance is the unit

Labels = NDArray[np.int64]
Shape = tuple[int, int, int]  # of what a model sees of an image: channels, height, width


@dataclass(frozen=True)
class Preset:
    """A published protocol."""

    paper: str
    boundary: BoundaryName  # in which the audit gives the exact metrics beside
    plan: Callable[[int, Shape, Generator], Plan]  # of so many images, and their shape
    estimate: Callable[[Arrays, Labels | None, Generator], dict[str, Estimate]]  # of predictions and labels
    needs_labels: bool = False


def get(name: str) -> Preset:
    """Return the preset of that name; a user's mistake is refused."""
    if name not in PRESETS:
        raise UserError(f"--protocol is {name!r}: choose of {', '.join(PRESETS)}")
    return PRESETS[name]


def generator(seed: int) -> Generator:
    """Return what an audit with that seed draws a protocol's shifts from, and another its pairs."""
    return np.random.default_rng([seed, *b"published"])


def plan_zhang2019(images: int, shape: Shape, rng: Generator) -> Plan:
    """Plan two random crops of each image, five times; the corners are drawn once for a whole batch."""

    def draw() -> NDArray[np.int64]:
        corners = rng.integers(OFFSETS, size=(2, 2))  # of two crops, as (y, x)
        return OFFSETS // 2 - corners[:, ::-1]

    passes = [_repeat_in_batches(images, draw) for _ in range(PASSES)]
    sets = {f"{number} {crop}": passes[number][crop] for number in range(PASSES) for crop in (0, 1)}
    return Plan("crop", shape, sets, padding=OFFSETS // 2)


def estimate_zhang2019(arrays: Arrays, labels: Labels | None, rng: Generator) -> dict[str, Estimate]:  # noqa: ARG001
    """Making Convolutional Networks Shift-Invariant Again: are two random crops predicted the same?

    The stricter metric is of images right in one crop at least.
    """
    first, second = (
        np.stack([arrays[f"{number} {crop}.predicted"] for number in range(PASSES)]).astype(np.int64) for crop in (0, 1)
    )
    same = first == second
    estimates = {"consistency of two crops": mean(same.mean(axis=0))}
    if labels is not None and (right := (first == labels) | (second == labels)).any():
        estimates["the same, of images right in one crop at least"] = proportion(same[right])
    return estimates


def plan_chaman2021(images: int, shape: Shape, rng: Generator) -> Plan:
    """Plan two random circular shifts of each image, from -3 to 2 pixels along each axis, drawn once for a batch."""

    def draw() -> NDArray[np.int64]:
        return rng.integers(-ROLLED, ROLLED, size=(2, 2))

    first, second = _repeat_in_batches(images, draw)
    return Plan("circular", shape, {"first": first, "second": second})


def estimate_chaman2021(arrays: Arrays, labels: Labels | None, rng: Generator) -> dict[str, Estimate]:  # noqa: ARG001
    """Truly Shift-Invariant Convolutional Neural Networks: are two random circular shifts predicted the same?

    The network has to be padded circularly for the theorem to hold.
    """
    return {"consistency of two circular shifts": proportion(arrays["first.predicted"] == arrays["second.predicted"])}


def plan_mnist_c(images: int, shape: Shape, rng: Generator) -> Plan:
    """Plan MNIST-C's `translate`: moved by 1 to 5 pixels along both axes, signs drawn for each image."""
    return Plan("zero", shape, {f"{at}": rng.choice([-at, at], (images, 2)).astype(np.int8) for at in SEVERITIES})


def estimate_mnist_c(arrays: Arrays, labels: Labels | None, rng: Generator) -> dict[str, Estimate]:  # noqa: ARG001
    """MNIST-C's `translate`: accuracy by severity."""
    right = {at: arrays[f"{at}.predicted"] == labels for at in SEVERITIES}
    accuracies = {f"accuracy, translate severity {at}": proportion(right[at]) for at in SEVERITIES}
    return {**accuracies, "accuracy, mean over severities": mean(np.mean(list(right.values()), axis=0))}


def plan_kauderer2017(images: int, shape: Shape, rng: Generator) -> Plan:  # noqa: ARG001
    """Plan every shift of up to 5 pixels, with the distance of its logits from the unshifted ones."""
    max_shift = min(SENSITIVITY, *(side - 1 for side in shape[1:]))
    return Plan("zero", shape, {}, np.arange(images, dtype=np.int32), grid(max_shift), of_logits=True)


def estimate_kauderer2017(arrays: Arrays, labels: Labels | None, rng: Generator) -> dict[str, Estimate]:
    """Quantifying Translation-Invariance in Convolutional Neural Networks: how far do a model's scores move?

    The mean Euclidean distance of an image's scores (here logits) from those of the shifted image, in units of the
    median distance between images of different classes; without labels, of different predictions. Mean over all shifts
    of up to 5 pixels, and at the farthest along the axes.
    """
    scores = arrays["scores"]
    classes = scores.argmax(1) if labels is None else labels
    first, second = rng.integers(len(scores), size=(2, PAIRS))
    differ = classes[first] != classes[second]
    if not differ.any():
        raise UserError("--protocol kauderer2017 needs images of two classes at least")
    unit = float(np.median(np.linalg.norm(scores[first[differ]] - scores[second[differ]], axis=1)))
    distances = arrays["euclidean"] / unit  # (shifts, images)
    max_shift = int(len(distances) ** 0.5) // 2
    pixels = np.abs(grid(max_shift).astype(int))
    ends = (pixels.max(axis=1) == max_shift) & (pixels.min(axis=1) == 0)
    return {
        f"sensitivity, mean up to {max_shift} px": mean(distances[pixels.any(axis=1)].mean(axis=0)),
        f"sensitivity, {max_shift} px along an axis": mean(distances[ends].mean(axis=0)),
    }


def _repeat_in_batches(images: int, draw: Callable[[], NDArray[np.int64]]) -> tuple[Shifts, Shifts]:
    """Return two shifts for each image, `(images, 2)` each, of `draw`, `(2, 2)`, once for each batch."""
    draws = np.stack([draw() for _ in range(-(-images // BATCH))])  # (batches, 2, 2)
    first, second = np.repeat(draws, BATCH, axis=0)[:images].astype(np.int8).transpose(1, 0, 2)
    return first, second


PRESETS = {
    "zhang2019": Preset("Zhang 2019, antialiased-cnns", "crop", plan_zhang2019, estimate_zhang2019),
    "chaman2021": Preset(
        "Chaman & Dokmanic 2021, truly_shift_invariant_cnns", "circular", plan_chaman2021, estimate_chaman2021
    ),
    "mnist-c": Preset("Mu & Gilmer 2019, MNIST-C", "zero", plan_mnist_c, estimate_mnist_c, needs_labels=True),
    "kauderer2017": Preset("Kauderer-Abrams 2017", "zero", plan_kauderer2017, estimate_kauderer2017),
}
