"""Images that a model is audited on: raw, read from files or memory as they are needed, with labels or without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftlab.audits.preprocessing import COUNT, Preprocessing
from shiftlab.config.audit import Interpolation
from shiftlab.config.params import Data
from shiftlab.data import folder, sources
from shiftlab.data.dataset import load, numbered, path
from shiftlab.errors import UserError, extra
from shiftlab.shifts.grids import subset

WORKERS = 4  # threads that read files ahead

Pixels = NDArray[np.uint8]  # (H, W, 1) or (H, W, 3)
Size = tuple[int, int]  # height, width


class Source(Protocol):
    """Images that are read by their numbers."""

    def read(self, number: int, resize: int | None, size: Size | None, how: Interpolation) -> Pixels:
        """Return an image, its shorter side resized to `resize` pixels, cropped to the middle of `size`."""

    def digest(self, number: int) -> bytes:
        """Return what identifies an image: the digest of its file, or its pixels."""


@dataclass(frozen=True)
class _Files:
    paths: list[Path]

    def read(self, number: int, resize: int | None, size: Size | None, how: Interpolation) -> Pixels:
        return folder.read(self.paths[number], resize, size, how)

    def digest(self, number: int) -> bytes:
        return hashlib.sha256(self.paths[number].read_bytes()).digest()


@dataclass(frozen=True)
class _Arrays:
    pixels: Callable[[int], Pixels]
    name: str

    def read(self, number: int, resize: int | None, size: Size | None, how: Interpolation) -> Pixels:
        return folder.cut(self.pixels(number), resize, size, how, f"image {number} of {self.name}")

    def digest(self, number: int) -> bytes:
        return self.pixels(number).tobytes()


@dataclass(frozen=True)
class Images:
    """Images, all of a source or a sample, each read when it is needed."""

    name: str
    source: Source
    numbers: NDArray[np.int64]  # (N,): of the images, in their source
    labels: NDArray[np.int64] | None  # (N,): places among `classes`; None where nobody labelled them
    classes: tuple[str, ...] | None  # their names
    total: int  # images in the source
    in_files: bool = False  # worth reading ahead?

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, count: int | str, seed: int) -> Images:
        """Return `count` of the images, drawn with `seed`, each class in its share; all where there are no more.

        Raises:
            UserError: fewer than one for each class.
        """
        if count == "all" or int(count) >= len(self):
            return self
        if self.labels is None:
            drawn = np.sort(np.random.default_rng(seed).choice(len(self), int(count), replace=False))
            return replace(self, numbers=self.numbers[drawn])
        drawn = subset(self.labels, int(count), seed).astype(np.int64)
        return replace(self, numbers=self.numbers[drawn], labels=self.labels[drawn])

    def sha256(self) -> str:
        """Return the SHA-256 of the images and their labels."""
        digest = hashlib.sha256()
        for number in self.numbers.tolist():
            digest.update(self.source.digest(number))
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def size(self) -> tuple[int, int, int] | None:
        """Return channels, height and width of the first few images before resizing; None where they differ."""
        shapes = {self.source.read(number, None, None, "bilinear").shape for number in self.numbers[:8].tolist()}
        if len({shape[:2] for shape in shapes}) != 1:
            return None
        height, width, _ = next(iter(shapes))
        return (max(shape[2] for shape in shapes), height, width)

    def batches(self, preprocessing: Preprocessing, margin: int, size: int, first: int = 0) -> Iterator[Tensor]:
        """Yield batches of at most `size` raw images, uint8 `(n, C, H, W)`, from the place `first` on, in their order.

        Args:
            preprocessing: how they are resized, and how large a middle the model sees.
            margin: pixels kept around that middle.

        Raises:
            UserError: an image that can't be read, or is too small.
        """
        starts = range(first, len(self), size)
        if not self.in_files:
            yield from (self.at(range(start, min(start + size, len(self))), preprocessing, margin) for start in starts)
            return
        # Threads, not processes: Pillow lets others work while it decodes and resizes, and a process that is forked
        # beside PyTorch's threads may hang.
        with ThreadPoolExecutor(WORKERS) as readers:

            def begin(start: int) -> list[Future[Tensor]]:
                places = range(start, min(start + size, len(self)))
                return [readers.submit(self._read, place, preprocessing, margin) for place in places]

            try:
                ahead = begin(first) if starts else []
                for start in starts:
                    batch, ahead = ahead, begin(start + size)
                    yield torch.stack([image.result() for image in batch])
            finally:
                readers.shutdown(cancel_futures=True)

    def at(self, places: Sequence[int], preprocessing: Preprocessing, margin: int) -> Tensor:
        """Return the images at some places, as `batches` gives them."""
        return torch.stack([self._read(place, preprocessing, margin) for place in places])

    def _read(self, place: int, preprocessing: Preprocessing, margin: int) -> Tensor:
        """Return an image resized and cropped, with `margin` pixels around what the model sees, uint8 `(C, H, W)`."""
        height, width = preprocessing.frame
        size = (height + 2 * margin, width + 2 * margin)
        pixels = self.source.read(int(self.numbers[place]), preprocessing.resize, size, preprocessing.interpolation)
        pixels = folder.with_channels(pixels, COUNT[preprocessing.channels])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def load_images(data: str, root: Path = Path("data")) -> Images:
    """Return the images that a user names.

    Args:
        data: a folder with a subfolder for each class, or of images without labels; an .npz with `images` and perhaps
            `labels` and `classes`; "digits", or a data set that the pipeline has downloaded; "torchvision:NAME".
        root: where torchvision's data sets lie.

    Raises:
        UserError: there is no such thing, or it can be read in more than one way.
    """
    place = Path(data)
    if data.startswith("torchvision:"):
        return _from_torchvision(data.partition(":")[2], root)
    if place.is_dir():
        return _from_folder(place)
    if place.suffix == ".npz" and place.is_file():
        return _from_npz(place)
    bundled = [name for name in sources.names() if sources.get(name).bundled]
    if data in bundled:
        _, test, classes = sources.get(data).load(Data.model_construct())
        return from_arrays(data, test.images.numpy(), test.labels.numpy(), classes)
    stored = place if place.suffix == ".safetensors" else path(data)
    if stored.is_file():
        dataset = load(stored)
        test = dataset.test
        return from_arrays(data, test.images.numpy(), test.labels.numpy(), dataset.classes)
    raise UserError(
        f"no images at {data!r}: give a folder with a subfolder for each class, an .npz, {', '.join(bundled)}, a data "
        "set that the pipeline has put into data/, or torchvision:NAME"
    )


def from_arrays(
    name: str,
    images: NDArray[Any],
    labels: NDArray[Any] | None,
    classes: Sequence[str] | None = None,
) -> Images:
    """Return images that are in memory.

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

    return _whole(name, _Arrays(pixels.__getitem__, name), len(pixels), numbered_labels, classes)


def _whole(
    name: str,
    source: Source,
    count: int,
    labels: NDArray[np.int64] | None,
    classes: Sequence[str] | None,
    in_files: bool = False,
) -> Images:
    """Return all `count` images of a source."""
    names = None if classes is None else tuple(classes)
    return Images(name, source, np.arange(count), labels, names, count, in_files)


def _from_folder(root: Path) -> Images:
    labels: list[int] | None
    classes: tuple[str, ...] | None
    if any(path.is_dir() for path in folder.visible(root)):
        paths, labels, classes = folder.listing(root)
    else:
        paths, labels, classes = folder.visible(root), None, None
        if not paths:
            raise UserError(f"{root} is empty: put images into it, or a subfolder of images for each class")
    return _whole(root.name, _Files(paths), len(paths), None if labels is None else np.array(labels), classes, True)


def _from_npz(place: Path) -> Images:
    try:
        with np.load(place, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("images", "labels", "classes")}
    except (OSError, ValueError) as error:
        raise UserError(f"{place} can't be read as .npz ({error}): write it with numpy.savez") from None
    if "images" not in arrays:
        raise UserError(f"{place} has no array `images`: write it with numpy.savez(file, images=..., labels=...)")
    classes = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    return from_arrays(place.stem, arrays["images"], arrays.get("labels"), classes)


def _from_torchvision(name: str, root: Path) -> Images:
    with extra("torchvision"):
        from torchvision import datasets
    kind = getattr(datasets, name, None)
    if not isinstance(kind, type) or not issubclass(kind, datasets.VisionDataset):
        raise UserError(f"torchvision has no data set {name!r}: write it as in its documentation, like CIFAR10")
    test: tuple[dict[str, Any], ...] = ({"train": False}, {"split": "test"}, {"split": "val"}, {})
    for arguments in [*({"root": str(root), **split} for split in test), {}]:
        try:
            dataset: Any = kind(**arguments)
            break
        except TypeError:
            continue  # it knows no such argument
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(
                f"torchvision's {name} can't be read from {root} ({' '.join(str(error).split())}): download it there, "
                f"as with torchvision.datasets.{name}({str(root)!r}, download=True), or name its place with --root"
            ) from None
    labels = getattr(dataset, "targets", getattr(dataset, "labels", None))
    labels = [int(dataset[number][1]) for number in range(len(dataset))] if labels is None else labels
    classes = tuple(map(str, getattr(dataset, "classes", numbered(int(max(labels)) + 1))))
    source = _Arrays(lambda number: folder.as_pixels(dataset[number][0]), name)
    return _whole(name, source, len(dataset), np.array([int(label) for label in labels]), classes)


def _pixels(images: NDArray[Any], name: str) -> Pixels:
    """Return raw images as `(N, H, W, C)`."""
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
