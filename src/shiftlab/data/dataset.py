"""Whole data sets as tensors: the split, and the one file that holds a data set."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shiftlab import files
from shiftlab.errors import UserError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """Raw images, uint8 `(N, C, H, W)` with one channel or three (red, green, blue), and their labels, int64 `(N,)`."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def center_crop(self, size: tuple[int, int]) -> Examples:
        """Return the same examples, each image cropped to the center of `size`, (height, width)."""
        return Examples(center_crop(self.images, size).contiguous(), self.labels)

    def to(self, device: torch.device) -> Examples:
        """Return the same examples on `device`."""
        return Examples(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Examples that models learn from, that choose among their epochs, and that only evaluation uses."""

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]  # their names; a label is a place among them
    frame: tuple[int, int]  # height and width in pixels of the center that models see, at most the images' own
    canvas: bool = False  # do the images lie on a larger black canvas?

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of a model's input: channels, height, width."""
        return (self.train.images.shape[1], *self.frame)

    def crop_to_frame(self) -> Dataset:
        """Return the same data set, each image cropped to the frame."""
        train, validation, test = (part.center_crop(self.frame) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the center of images `(..., H, W)`, `size` pixels high and wide, as a view.

    Where as many pixels can't be cut off on both sides, one more goes at the right and at the bottom.
    """
    height, width = size
    top, left = ((whole - part) // 2 for whole, part in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + height, left : left + width]


def draw(labels: NDArray[np.integer], count: int, seed: int) -> NDArray[np.int64]:
    """Draw places of `count` of N labels, `(N,)`, each class in its share as near as may be; in order, `(count,)`.

    Where scikit-learn's stratified split draws at all, this is its draw. It refuses a class of one example, and sides
    of fewer examples than classes.
    """
    rng = np.random.RandomState(seed)
    _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts = _apportion(sizes, count, rng)
    _apportion(sizes - counts, len(labels) - count, rng)  # as scikit-learn does, which may draw from `rng`
    by_class = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
    parts = [places[rng.permutation(len(places))[:size]] for places, size in zip(by_class, counts, strict=True)]
    ordered: NDArray[np.int64] = np.sort(np.concatenate(parts))
    return ordered


def _apportion(sizes: NDArray[np.int64], count: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return how many of `count` each class has, by its size: largest remainders, ties drawn."""
    shares = sizes / sizes.sum() * count
    counts: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    remainders = shares - counts
    for remainder in np.unique(remainders)[::-1]:
        (tied,) = np.where(remainders == remainder)
        if missing := int(count - counts.sum()):
            counts[rng.choice(tied, min(len(tied), missing), replace=False)] += 1
    return counts


def split(examples: Examples, size: int | float, seed: int, what: str) -> tuple[Examples, Examples]:
    """Split `size` examples off, drawn with `seed` as `draw` does; both parts keep their order.

    Args:
        size: how many, or which share of them.
        what: the parameter's name, for a message.

    Returns:
        (the remainder, those split off)

    Raises:
        UserError: one of the parts would be empty.
    """
    total = len(examples)
    count = total - (size if isinstance(size, int) else math.ceil(size * total))
    if not 0 < count < total:
        raise UserError(f"{what} is {size}, which leaves nothing of {total:,} images: choose a smaller one")
    remaining = draw(examples.labels.numpy(), count, seed)
    remainder, part = (
        Examples(examples.images[places], examples.labels[places])
        for places in (remaining, np.delete(np.arange(total), remaining))
    )
    return remainder, part


def path(name: str) -> Path:
    """Return where the download stage puts the data set `name`."""
    return Path("data", name, "dataset.safetensors")


def save(dataset: Dataset, path: Path) -> None:
    """Save a data set to one file; the same data set gives the same bytes. OSError: as `files.write`."""
    tensors = {}
    for part in PARTS:
        examples: Examples = getattr(dataset, part)
        tensors[f"{part}.images"] = examples.images.contiguous()
        tensors[f"{part}.labels"] = examples.labels.to(torch.uint8 if len(dataset.classes) <= 256 else torch.int16)
    # One entry of metadata and no more: safetensors writes several in an order that changes from run to run.
    metadata = {"classes": dataset.classes, "frame": dataset.frame, "canvas": dataset.canvas}
    files.write(path, safetensors.torch.save(tensors, {"about": json.dumps(metadata)}))


def load(path: Path) -> Dataset:
    """Load what `save` wrote. UserError: no such file, or not a data set."""
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads(file.metadata()["about"])
            tensor = file.get_tensor
            train, validation, test = (
                Examples(tensor(f"{part}.images"), tensor(f"{part}.labels").long()) for part in PARTS
            )
        height, width = metadata["frame"]
        return Dataset(train, validation, test, tuple(metadata["classes"]), (height, width), metadata["canvas"])
    except FileNotFoundError:
        raise UserError(f"no data set at {path}: `dvc repro download` makes it") from None
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a data set ({error}): delete it, then `dvc repro download`") from None


def class_name(name: str) -> str:
    """Return a class's name as it is compared: accents composed (Unicode's NFC), no space around it.

    Raises:
        UserError: it is empty, no text, or of several lines.
    """
    composed = unicodedata.normalize("NFC", name).strip()
    if not composed or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in composed):
        raise UserError(f"the class name {name!r} can't be printed: rename the class, in UTF-8 and on one line")
    return composed


def class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return images' classes as `class_name`. UserError: as there; two are the same."""
    composed = tuple(map(class_name, names))
    if twice := [name for name, count in Counter(composed).items() if count > 1]:
        raise UserError(f"two classes are called {twice[0]!r}: rename one")
    return composed


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none but their numbers."""
    return tuple(map(str, range(count)))


def describe(dataset: Dataset) -> str:
    """Return a sentence on how many images of what size and classes there are."""
    channels, height, width = dataset.shape
    names = ", ".join(dataset.classes[:10]) + (", ..." if len(dataset.classes) > 10 else "")
    return (
        f"{len(dataset.train):,} training, {len(dataset.validation):,} validation, {len(dataset.test):,} test images, "
        f"{width}x{height} pixels {'grey' if channels == 1 else 'in colour'}, {len(dataset.classes)} classes ({names})"
    )
