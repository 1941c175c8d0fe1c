"""Whole data sets as tensors: the split, and the one file a data set lies in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from shiftlab import files
from shiftlab.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Square images, uint8 `(N, H, H)`, ink 255 on black 0, and their labels, int64 `(N,)` in 0..9."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.images.shape[-1]

    def to(self, device: torch.device) -> Examples:
        """The same examples on `device`."""
        return Examples(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """What models learn from, what chooses among their epochs, and what only evaluation sees."""

    train: Examples
    validation: Examples
    test: Examples


def split(examples: Examples, size: int, seed: int) -> tuple[Examples, Examples]:
    """Take `size` examples off, each class in its share, drawn with `seed`; both parts keep their order.

    Returns:
        (the rest, those taken off)

    Raises:
        UserError: `size` leaves a class without an example on one of the sides.
    """
    from sklearn.model_selection import train_test_split  # only the download stage pays for the import

    try:
        rest, taken = train_test_split(
            range(len(examples)), test_size=size, random_state=seed, stratify=examples.labels.numpy()
        )
    except ValueError as error:
        raise UserError(
            f"data.validation is {size}, which can't be split off {len(examples)} training images ({error}): "
            "choose a smaller or a larger one"
        ) from None
    first, second = (torch.tensor(sorted(part)) for part in (rest, taken))
    return (
        Examples(examples.images[first], examples.labels[first]),
        Examples(examples.images[second], examples.labels[second]),
    )


def path(name: str) -> Path:
    """Where the download stage puts the data set `name`."""
    return Path("data", name, "dataset.safetensors")


def save(dataset: Dataset, path: Path) -> None:
    """Write the data set to one file; the same data set gives the same bytes.

    Raises:
        OSError: as `files.write`.
    """
    tensors = {}
    for part, examples in vars(dataset).items():
        tensors[f"{part}.images"] = examples.images.contiguous()
        tensors[f"{part}.labels"] = examples.labels.to(torch.uint8)
    files.write(path, safetensors.torch.save(tensors))


def load(path: Path) -> Dataset:
    """Read what `save` wrote.

    Raises:
        UserError: no such file, or not a data set.
    """
    try:
        tensors = safetensors.torch.load_file(path)
        parts = {
            part: Examples(tensors[f"{part}.images"], tensors[f"{part}.labels"].long())
            for part in ("train", "validation", "test")
        }
    except FileNotFoundError:
        raise UserError(f"no data set at {path}: `dvc repro download` makes it") from None
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path} is not a data set ({error}): delete it, then `dvc repro download`") from None
    return Dataset(**parts)
