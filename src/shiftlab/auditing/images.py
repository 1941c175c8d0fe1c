"""The images that a model is audited on: read from where they lie as they are needed, raw, with labels or without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from shiftlab.auditing.preprocessing import COUNT, Preprocessing
from shiftlab.data import digits, folder
from shiftlab.data.dataset import load, numbered, path
from shiftlab.errors import UserError, extra
from shiftlab.measure.shifts import subset

WORKERS = 2  # processes that read files, beside the one that computes

Pixels = NDArray[np.uint8]  # (H, W, 1) or (H, W, 3)
Read = Callable[[int, int | None, tuple[int, int] | None, folder.Interpolation], Pixels]


@dataclass(frozen=True)
class Images:
    """Images by number, each read when it is wanted."""

    name: str
    count: int
    read: Read  # image's number, pixels of the shorter side, size of the middle, interpolation -> pixels
    labels: NDArray[np.int64] | None  # (N,): places among `classes`; None where nobody labelled them
    classes: tuple[str, ...] | None  # their names
    digest: Callable[[int], bytes]  # of one image, as it lies there
    in_files: bool = False  # worth reading ahead?
    numbers: NDArray[np.int64] | None = None  # of those chosen, among all; None: all
    test_part: str = ""  # what of a data set they are, for people

    def __len__(self) -> int:
        return self.count if self.numbers is None else len(self.numbers)

    def chosen(self, count: int | str, seed: int) -> Images:
        """So many of them, drawn with `seed`, each class in its share; all where there are no more, or for "all".

        Raises:
            UserError: fewer than one for each class.
        """
        if count == "all" or int(count) >= self.count:
            return self
        if self.labels is None:
            drawn = np.sort(np.random.default_rng(seed).choice(self.count, int(count), replace=False))
            return replace(self, numbers=drawn)
        return replace(self, numbers=subset(self.labels, int(count), seed).astype(np.int64))

    @property
    def of_chosen(self) -> NDArray[np.int64] | None:
        """The labels of those chosen."""
        if self.labels is None or self.numbers is None:
            return self.labels
        return self.labels[self.numbers]

    def number(self, place: int) -> int:
        """Which of all images the one at a place among the chosen is."""
        return place if self.numbers is None else int(self.numbers[place])

    def sha256(self) -> str:
        """Of all chosen images and their labels."""
        found = hashlib.sha256()
        for place in range(len(self)):
            found.update(self.digest(self.number(place)))
        labels = self.of_chosen
        if labels is not None:
            found.update(labels.astype("<i8").tobytes())
        return found.hexdigest()

    def size(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the first few images before resizing; None where they differ."""
        shapes = {self.read(self.number(place), None, None, "bilinear").shape for place in range(min(8, len(self)))}
        if len({shape[:2] for shape in shapes}) != 1:
            return None
        height, width, _ = next(iter(shapes))
        return (max(shape[2] for shape in shapes), height, width)

    def batches(self, prepared: Preprocessing, margin: int, size: int, first: int = 0) -> Iterator[Tensor]:
        """Batches of at most `size` raw images, uint8 `(n, C, H, W)`, from the place `first` on, in their order.

        Args:
            prepared: how they are resized, and how large a middle the model sees.
            margin: pixels kept around that middle.

        Raises:
            UserError: an image that can't be read, or is too small.
        """
        cut = _Cut(self, prepared, margin)
        starts = range(first, len(self), size)
        batches = [list(range(start, min(start + size, len(self)))) for start in starts]
        workers = WORKERS if self.in_files and len(batches) > 1 else 0
        yield from DataLoader(
            cut, batch_sampler=batches, num_workers=workers, collate_fn=_stacked, prefetch_factor=1 if workers else None
        )

    def at(self, places: Sequence[int], prepared: Preprocessing, margin: int) -> Tensor:
        """Some images, as `batches` gives them."""
        cut = _Cut(self, prepared, margin)
        return _stacked([cut[place] for place in places])


class _Cut(TorchDataset[Tensor | str]):
    """Each image resized and cut to what is wanted of it. A sentence in place of one that can't be."""

    def __init__(self, images: Images, prepared: Preprocessing, margin: int) -> None:
        self.images, self.prepared = images, prepared
        height, width = prepared.frame
        self.size = (height + 2 * margin, width + 2 * margin)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor | str:
        number, prepared = self.images.number(place), self.prepared
        try:
            pixels = self.images.read(number, prepared.resize, self.size, prepared.interpolation)
        except UserError as error:  # which a worker's process would hand over as a traceback
            return str(error)
        pixels = folder.with_channels(pixels, COUNT[prepared.channels])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _stacked(images: list[Tensor | str]) -> Tensor:
    for one in images:
        if isinstance(one, str):
            raise UserError(one)
    return torch.stack([one for one in images if isinstance(one, Tensor)])


def of(data: str, root: Path = Path("data")) -> Images:
    """Images by what a user calls them.

    Args:
        data: a folder with a subfolder for each class, or of images without labels; an .npz with `images` and perhaps
            `labels` and `classes`; "digits", or a data set that the pipeline has downloaded; "torchvision:NAME".
        root: where torchvision's data sets lie.

    Raises:
        UserError: there is no such thing, or it can be read in more than one way.
    """
    place = Path(data)
    if data.startswith("torchvision:"):
        return _of_torchvision(data.partition(":")[2], root)
    if place.is_dir():
        return _of_folder(place)
    if place.suffix == ".npz" and place.is_file():
        return _of_npz(place)
    if data == "digits":
        _, test, classes = digits.digits()
        return of_arrays(data, test.images.numpy(), test.labels.numpy(), classes, "test images")
    stored = place if place.suffix == ".safetensors" else path(data)
    if stored.is_file():
        dataset = load(stored)
        test = dataset.test
        return of_arrays(data, test.images.numpy(), test.labels.numpy(), dataset.classes, "test images")
    raise UserError(
        f"no images at {data!r}: give a folder with a subfolder for each class, an .npz, digits, a data set that the "
        "pipeline has put into data/, or torchvision:NAME"
    )


def of_arrays(
    name: str,
    images: NDArray[Any],
    labels: NDArray[Any] | None,
    classes: Sequence[str] | None = None,
    part: str = "",
) -> Images:
    """Images in memory.

    Args:
        images: raw, 0..255: `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` with C of 1 or 3. Whole numbers of any type.
        labels: `(N,)` whole numbers from 0, or None.
        classes: their names; none are numbered.

    Raises:
        UserError: other shapes, fractions, values out of range, or axes that can be read in two ways.
    """
    pixels = _pixels(np.asarray(images), name)
    numbered_labels = None
    if labels is not None:
        numbered_labels = _labels(np.asarray(labels), len(pixels), name)
        classes = tuple(classes) if classes is not None else numbered(int(numbered_labels.max()) + 1)
        if numbered_labels.max() >= len(classes):
            raise UserError(f"{name} has a label {numbered_labels.max()}, but {len(classes)} classes, counted from 0")

    def read(number: int, resize: int | None, size: tuple[int, int] | None, how: folder.Interpolation) -> Pixels:
        return folder.cut(pixels[number], resize, size, how, f"image {number} of {name}")

    return Images(
        name,
        len(pixels),
        read,
        numbered_labels,
        tuple(classes) if classes is not None else None,
        digest=lambda number: pixels[number].tobytes(),
        test_part=part,
    )


def _of_folder(root: Path) -> Images:
    labels: list[int] | None
    classes: tuple[str, ...] | None
    if any(path.is_dir() for path in folder.visible(root)):
        paths, labels, classes = folder.listing(root)
    else:
        paths, labels, classes = folder.visible(root), None, None
        if not paths:
            raise UserError(f"{root} is empty: put images into it, or a subfolder of images for each class")

    def read(number: int, resize: int | None, size: tuple[int, int] | None, how: folder.Interpolation) -> Pixels:
        return folder.read(paths[number], resize, size, how)

    return Images(
        root.name,
        len(paths),
        read,
        None if labels is None else np.array(labels),
        classes,
        digest=lambda number: hashlib.sha256(paths[number].read_bytes()).digest(),
        in_files=True,
    )


def _of_npz(place: Path) -> Images:
    try:
        with np.load(place, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("images", "labels", "classes")}
    except (OSError, ValueError) as error:
        raise UserError(f"{place} can't be read as .npz ({error}): write it with numpy.savez") from None
    if "images" not in arrays:
        raise UserError(f"{place} has no array `images`: write it with numpy.savez(file, images=..., labels=...)")
    classes = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    return of_arrays(place.stem, arrays["images"], arrays.get("labels"), classes)


def _of_torchvision(name: str, root: Path) -> Images:
    with extra("torchvision"):
        from torchvision import datasets
    kind = getattr(datasets, name, None)
    if not isinstance(kind, type) or not issubclass(kind, datasets.VisionDataset):
        raise UserError(f"torchvision has no data set {name!r}: write it as in its documentation, like CIFAR10")
    test: tuple[dict[str, Any], ...] = ({"train": False}, {"split": "test"}, {"split": "val"}, {})
    for given in [*({"root": str(root), **one} for one in test), {}]:
        try:
            found = kind(**given)
            break
        except TypeError:
            continue  # it knows no such argument
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(
                f"torchvision's {name} can't be read from {root} ({' '.join(str(error).split())}): download it there, "
                f"as with torchvision.datasets.{name}({str(root)!r}, download=True), or name its place with --root"
            ) from None
    labels = getattr(found, "targets", getattr(found, "labels", None))
    labels = [int(found[number][1]) for number in range(len(found))] if labels is None else labels

    def read(number: int, resize: int | None, size: tuple[int, int] | None, how: folder.Interpolation) -> Pixels:
        return folder.cut(folder.as_pixels(found[number][0]), resize, size, how, f"image {number} of {name}")

    return Images(
        name,
        len(found),
        read,
        np.array([int(label) for label in labels]),
        tuple(map(str, getattr(found, "classes", numbered(int(max(labels)) + 1)))),
        digest=lambda number: folder.as_pixels(found[number][0]).tobytes(),
        test_part="test images",
    )


def _pixels(images: NDArray[Any], name: str) -> Pixels:
    """Raw images as `(N, H, W, C)`."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or len(images) == 0:
        raise UserError(
            f"{name} has images of shape {images.shape}: they must be (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    last, first = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
    if last == first:
        both = "could be (N, H, W, C) or (N, C, H, W)" if last else "has neither one channel nor three"
        raise UserError(
            f"{name} has images of shape {images.shape}, which {both}: write them as (N, H, W, C), C 1 or 3"
        )
    if first:
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        if not (
            np.issubdtype(images.dtype, np.number) and low >= 0 and high <= 255 and (images == np.round(images)).all()
        ):
            raise UserError(
                f"{name} has pixels of type {images.dtype} from {low} to {high}: they must be raw, whole numbers from "
                "0 to 255; pixels in 0..1 are (255 * pixels).round().astype('uint8')"
            )
        if high <= 1:
            raise UserError(
                f"{name} has pixels of type {images.dtype} that are 0 and 1 alone: write them as uint8, 0 and 255 for "
                "black and white"
            )
        images = images.astype(np.uint8)
    return images


def _labels(labels: NDArray[Any], count: int, name: str) -> NDArray[np.int64]:
    if labels.shape != (count,):
        raise UserError(f"{name} has {count:,} images, but labels of shape {labels.shape}: there must be one for each")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise UserError(f"{name} has labels of type {labels.dtype} from {labels.min()}: they must be whole, from 0 on")
    return labels.astype(np.int64)
