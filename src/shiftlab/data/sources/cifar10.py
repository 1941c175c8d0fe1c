"""CIFAR-10: ten kinds of animals and vehicles, in colour (Krizhevsky 2009)."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shiftlab.data.sources import Source
from shiftlab.errors import UserError

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.dataset import Examples
    from shiftlab.data.sources import Loaded

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)  # of an image: channels, height, width
PICKLED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}  # what batches name


def load(data: Data) -> Loaded:
    """Download CIFAR-10's archive, verify and decode it.

    Raises:
        NoMirrorError, OSError: as `download.fetch`.
        UserError: as `decode`.
    """
    from torchvision.datasets import CIFAR10

    from shiftlab.data import download

    file = download.PublishedFile("CIFAR10", CIFAR10.filename, CIFAR10.tgz_md5)
    archive = download.fetch(file, [*data.mirrors, CIFAR10.url.rpartition("/")[0]])
    train, test = (
        decode(archive, [f"{CIFAR10.base_folder}/{name}" for name, _ in batches])
        for batches in (CIFAR10.train_list, CIFAR10.test_list)
    )
    return train, test, CLASSES


def decode(archive: bytes, batches: Iterable[str]) -> Examples:
    """Return the examples of the batches of that name in an archive, .tar.gz, of CIFAR-10's Python version.

    A batch is a pickled dictionary with `data`, uint8 `(N, 3072)`, each row an image `(3, 32, 32)`, and `labels`.

    Raises:
        UserError: a batch is missing, or not of that format; nothing but arrays and plain containers is unpickled.
    """
    import numpy as np
    import torch

    from shiftlab.data.dataset import Examples

    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            members = {member.name: file.read() for member in opened if (file := opened.extractfile(member))}
        contents = [_ArrayUnpickler(io.BytesIO(members[name]), encoding="latin1").load() for name in batches]
        images = np.concatenate([content["data"] for content in contents]).reshape(-1, *SHAPE)
        labels = [label for content in contents for label in content["labels"]]
        if images.dtype != np.uint8 or len(images) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(images)} images of {images.dtype}")
        return Examples(torch.from_numpy(images), torch.tensor(labels))
    except (tarfile.TarError, EOFError, pickle.UnpicklingError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"CIFAR-10's archive can't be decoded ({error}): delete data/published/CIFAR10 and download it anew"
        ) from None


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds NumPy's arrays and plain containers alone, for a pickle can run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(f"a batch names {module}.{name}, which is no part of CIFAR-10")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)  # which NumPy 2 calls it


SOURCE = Source("CIFAR-10", load, image_size=SHAPE[1:], channels=3, classes=CLASSES, images=(50_000, 10_000))
