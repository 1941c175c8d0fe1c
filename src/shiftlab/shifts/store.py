"""Where parts of unfinished work are kept, for a later attempt to go on from."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from shiftlab import files

Arrays = dict[str, NDArray[Any]]


class Store:
    """A folder of one piece of work, with a file for each part; its name tells all that the parts depend on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> Arrays | None:
        """Return the part `name`; None where there is none, or it is damaged."""
        content = read(self._folder / name)
        return None if content is None else safetensors.numpy.load(content)

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a part. OSError: as `files.write`."""
        write(self._folder / name, safetensors.numpy.save(arrays))

    def remove(self) -> None:
        """Delete all parts, once the whole is where it belongs."""
        shutil.rmtree(self._folder, ignore_errors=True)


def write(path: Path, content: bytes) -> None:
    """Write content with its digest in front: a flipped bit would end the next attempt in a traceback, or go on."""
    files.write(path, hashlib.sha256(content).digest() + content)


def read(path: Path) -> bytes | None:
    """Return what `write` wrote; None where there is no such file, or another."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, content = whole[:32], whole[32:]
    return content if hashlib.sha256(content).digest() == digest else None
