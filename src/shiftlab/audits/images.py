"""Images that a model is audited on: raw, read from files or memory as they are needed, with labels or without."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftlab.audits.preprocessing import COUNT, Preprocessing
from shiftlab.config.params import Background, Data
from shiftlab.data import folder, sources
from shiftlab.data.dataset import draw, load, numbered, path
from shiftlab.errors import UserError, extra

WORKERS = 4  # threads that read files ahead

Pixels = NDArray[np.uint8]  # (H, W, 1) or (H, W, 3)
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images, all of a source or a sample, each read when it is needed."""

    name: str
    item: Callable[[int], Path | Pixels]  # an image of the source by its number: its file, or its pixels
    numbers: NDArray[np.int64]  # (N,): of the images, in their source
    labels: Labels | None  # (N,): places among `classes`; None where nobody labelled them
    classes: tuple[str, ...] | None  # their names
    total: int  # images in the source
    background: Background | None = None  # behind see-through pixels of files
    named: bool = True  # do classes have names, or are those their numbers?

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, count: int | str, seed: int) -> Images:
        """Return `count` of the images, drawn with `seed`, each class in its share; all where there are no more."""
        if count == "all" or int(count) >= len(self):
            return self
        if self.labels is None:
            places = np.sort(np.random.default_rng(seed).choice(len(self), int(count), replace=False))
            return replace(self, numbers=self.numbers[places])
        places = draw(self.labels, int(count), seed)
        return replace(self, numbers=self.numbers[places], labels=self.labels[places])

    def sha256(self) -> str:
        """Return the SHA-256 of the images and their labels."""
        digest = hashlib.sha256((self.background or "").encode())
        for item in map(self.item, self.numbers.tolist()):
            digest.update(hashlib.sha256(item.read_bytes()).digest() if isinstance(item, Path) else item.tobytes())
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def size(self) -> tuple[int, int, int] | None:
        """Return channels, height and width of the first few images before resizing; None where they differ."""

        def read(place: int) -> Pixels:
            return self.read(place, folder.WHOLE)

        try:
            shapes = {read(place).shape for place in range(min(8, len(self)))}
        except UserError:
            self.check(read)
            raise
        if len({shape[:2] for shape in shapes}) != 1:
            return None
        height, width, _ = next(iter(shapes))
        return (max(shape[2] for shape in shapes), height, width)

    def check(self, read: Callable[[int], object]) -> None:
        """Read all images that are files once, by their places. UserError: as `folder.read_all`."""

        def discard(place: int) -> None:
            read(place)

        if isinstance(self.item(0), Path):
            with ThreadPoolExecutor(WORKERS) as readers:
                futures = [readers.submit(discard, place) for place in range(len(self))]
                try:
                    folder.read_all(Future.result, futures, len(self))
                except UserError as error:
                    raise UserError(str(error).replace("set data.background to", "give --background")) from None
                finally:
                    readers.shutdown(cancel_futures=True)  # or an interruption waits for all that are left

    def read(self, place: int, geometry: folder.Geometry, margin: int = 0) -> Pixels:
        """Return an image as `folder.read`."""
        number = int(self.numbers[place])
        item = self.item(number)
        if isinstance(item, Path):
            return folder.read(item, geometry, margin, self.background)
        return folder.cut(item, geometry, f"image {number} of {self.name}", margin)


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images as a preprocessing resizes and crops them: `shifts.inference.Images`."""

    images: Images
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.images)

    def chunks(self, margin: int, size: int, first: int = 0) -> Iterator[Tensor]:
        """Yield as `shifts.inference.Images`."""

        def places(start: int) -> range:
            return range(start, min(start + size, len(self)))

        starts = range(first, len(self), size)
        if not isinstance(self.images.item(0), Path):
            yield from (self.at(places(start), margin) for start in starts)
            return
        # Threads, not processes: Pillow lets others work while it decodes and resizes, and a process that is forked
        # beside PyTorch's threads may hang.
        with ThreadPoolExecutor(WORKERS) as readers:

            def submit(start: int) -> list[Future[Tensor]]:
                return [readers.submit(self.read, place, margin) for place in places(start)]

            try:
                ahead = submit(first)
                for start in starts:
                    batch, ahead = ahead, submit(start + size)
                    yield torch.stack([image.result() for image in batch])
            finally:
                readers.shutdown(cancel_futures=True)

    def at(self, places: Sequence[int], margin: int) -> Tensor:
        """Return the images at some places, as `chunks` gives them."""
        return torch.stack([self.read(place, margin) for place in places])

    def read(self, place: int, margin: int) -> Tensor:
        """Return one image, uint8 `(C, h + 2 margin, w + 2 margin)`."""
        pixels = self.images.read(place, self.preprocessing.geometry, margin)
        pixels = folder.with_channels(pixels, COUNT[self.preprocessing.channels])
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def load_images(data: str, root: Path = Path("data"), background: Background | None = None) -> Images:
    """Return the images that a user names.

    Args:
        data: as `shiftlab audit` takes it.
        root: where torchvision's data sets lie.
        background: of a folder's images, behind see-through pixels.
    """
    place = Path(data)
    if data.startswith("torchvision:"):
        return _from_torchvision(data.partition(":")[2], root)
    if place.is_dir():
        return replace(_from_folder(place), background=background)
    if place.suffix == ".npz" and place.is_file():
        return _from_npz(place)
    bundled = [name for name in sources.names() if sources.get(name).bundled]
    if data in bundled:
        _, test, classes = sources.get(data).load(Data.model_construct())
        return from_arrays(data, test.images.numpy(), test.labels.numpy(), classes)
    stored = place if place.suffix == ".safetensors" else path(data)
    if stored.is_file():
        dataset = load(stored)
        return from_arrays(data, dataset.test.images.numpy(), dataset.test.labels.numpy(), dataset.classes)
    raise UserError(
        f"no images at {data!r}: give a folder with a subfolder for each class, an .npz, {', '.join(bundled)}, a data "
        "set that the pipeline has put into data/, or torchvision:NAME"
    )


def from_arrays(
    name: str, images: NDArray[Any], labels: NDArray[Any] | None, classes: Sequence[str] | None = None
) -> Images:
    """Return images that are in memory.

    Args:
        images: raw, 0..255: `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` with C of 1 or 3. Whole numbers of any type.
        labels: `(N,)` whole numbers from 0, or None.
        classes: their names; none are numbered.
    """
    pixels = _as_pixels(np.asarray(images), name)
    names = None if classes is None else tuple(classes)
    if labels is not None:
        labels = _as_labels(np.asarray(labels), len(pixels), name)
        names = numbered(int(labels.max()) + 1) if names is None else names
        if labels.max() >= len(names):
            raise UserError(f"{name} has a label {labels.max()}, but {len(names)} classes, counted from 0")
    places = np.arange(len(pixels))
    return Images(name, pixels.__getitem__, places, labels, names, len(pixels), named=classes is not None)


def _from_folder(root: Path) -> Images:
    paths = folder.visible(root)
    if not paths:
        raise UserError(f"{root} is empty: put images into it, or a subfolder of images for each class")
    labels, classes = None, None
    if any(path.is_dir() for path in paths):
        paths, numbers, classes = folder.listing(root)
        labels = np.array(numbers)
    return Images(root.name, paths.__getitem__, np.arange(len(paths)), labels, classes, len(paths))


def _from_npz(place: Path) -> Images:
    try:
        with np.load(place, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("images", "labels", "classes")}
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
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
    splits: tuple[dict[str, Any], ...] = ({"train": False}, {"split": "test"}, {"split": "val"}, {})
    for arguments in [*({"root": str(root), **split} for split in splits), {}]:
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
    targets = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if targets is None:
        targets = [dataset[number][1] for number in range(len(dataset))]
    labels = np.array([int(target) for target in targets])
    names = getattr(dataset, "classes", None)
    classes = numbered(int(labels.max()) + 1) if names is None else tuple(map(str, names))

    def pixels(number: int) -> Pixels:
        return folder.as_pixels(dataset[number][0])

    return Images(name, pixels, np.arange(len(dataset)), labels, classes, len(dataset), named=names is not None)


def _as_pixels(images: NDArray[Any], name: str) -> Pixels:
    """Return raw images as `(N, H, W, C)`."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4:
        raise UserError(
            f"{name} has images of shape {images.shape}: they must be (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if len(images) == 0:
        raise UserError(f"{name} holds no images: its array of images has the shape {images.shape}")
    channels_last, channels_first = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
    if channels_last == channels_first:
        problem = "could be (N, H, W, C) or (N, C, H, W)" if channels_last else "has neither one channel nor three"
        raise UserError(
            f"{name} has images of shape {images.shape}, which {problem}: write them as (N, H, W, C), C 1 or 3"
        )
    if channels_first:
        images = images.transpose(0, 2, 3, 1)
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    numeric = np.issubdtype(images.dtype, np.number)
    if not (numeric and low >= 0 and high <= 255 and (images == np.round(images)).all()):
        raise UserError(
            f"{name} has pixels of type {images.dtype} from {low} to {high}: they must be raw, whole numbers from "
            "0 to 255; pixels in 0..1 are (255 * pixels).round().astype('uint8')"
        )
    if high <= 1:
        raise UserError(
            f"{name} has pixels of type {images.dtype} that are 0 and 1 alone: write them as uint8, 0 and 255 for "
            "black and white"
        )
    return images.astype(np.uint8)


def _as_labels(labels: NDArray[Any], count: int, name: str) -> Labels:
    if labels.shape != (count,):
        raise UserError(f"{name} has {count:,} images, but labels of shape {labels.shape}: there must be one for each")
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        least = f" from {labels.min()}" if labels.dtype.kind in "iuf" else ""
        raise UserError(
            f"{name} has labels of type {labels.dtype}{least}: they must be numbers of classes, an integer type from 0 "
            "on; numpy.unique(labels, return_inverse=True) makes such of names"
        )
    return labels.astype(np.int64)
