"""Data sets in MNIST's format, as torchvision lists and decodes them."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from shiftlab.data.sources import Source

if TYPE_CHECKING:
    from shiftlab.config.params import Data
    from shiftlab.data.sources import Loaded

# What MNIST's four files unpack to, which people also have: the published file's MD5 -> SHA-256 of what is in it.
UNPACKED = {
    "f68b3c2dcbeaaa9fbdd348bbdeb94873": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "d53e105ee54ea40749a09fcbcd1e9432": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "9fb629c4189551a2d022fa330f9573f3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ec29112dd5afa0611ce80d1b7f02629c": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def source(label: str, name: str, classes: tuple[str, ...]) -> Source:
    """Return the source of torchvision's data set `name`, which people know by its label."""
    load_named = partial(load, name, classes)
    return Source(label, load_named, image_size=(28, 28), channels=1, classes=classes, images=(60_000, 10_000))


def load(name: str, classes: tuple[str, ...], data: Data) -> Loaded:
    """Download and decode torchvision's data set `name`; the names of its classes are `classes`.

    Raises:
        NoMirrorError, OSError: as `download.fetch`.
    """
    from torchvision import datasets  # seconds to import, and the names of sources are had in milliseconds

    from shiftlab.data import download
    from shiftlab.data.dataset import Examples

    dataset: type[datasets.MNIST] = getattr(datasets, name)
    with TemporaryDirectory() as folder:
        raw = Path(folder, name, "raw")
        raw.mkdir(parents=True)
        for file_name, md5 in dataset.resources:
            file = download.PublishedFile(name, file_name, md5, UNPACKED.get(md5))
            content = download.fetch(file, [*data.mirrors, *dataset.mirrors])
            unpacked = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
            (raw / file_name).with_suffix("").write_bytes(unpacked)
        train, test = (dataset(folder, train=train) for train in (True, False))
    return Examples(train.data.unsqueeze(1), train.targets), Examples(test.data.unsqueeze(1), test.targets), classes
