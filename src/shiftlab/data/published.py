"""MNIST and Fashion-MNIST: the files as they were published, from a mirror or from a copy that somebody has.

torchvision's own download gives up on the first corrupted file, writes under the final name and neither waits nor
retries, so only its lists of files, its mirrors and its decoder are used.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from shiftlab import files
from shiftlab.data.dataset import Examples, numbered
from shiftlab.errors import NoMirrorError
from shiftlab.repository import root

if TYPE_CHECKING:
    from torchvision.datasets import MNIST

ATTEMPTS = 3  # a mirror's chances with one file
BACK_OFF_S = 1.0  # before the second; doubled before each one more
TIMEOUT_S = 20.0  # of connecting, and of every read
MOST_NAMES = 8  # of a folder's content, in a message

# What MNIST's four files unpack to, which people also have: the published file's MD5 -> SHA-256 of what is in it.
UNPACKED = {
    "f68b3c2dcbeaaa9fbdd348bbdeb94873": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "d53e105ee54ea40749a09fcbcd1e9432": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "9fb629c4189551a2d022fa330f9573f3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ec29112dd5afa0611ce80d1b7f02629c": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class _RefusedError(Exception):
    """A mirror's final answer for a file."""


class _BrokenError(_RefusedError):
    """A mirror's answer that the next attempt may better."""


def mnist(mirrors: Sequence[str]) -> tuple[Examples, Examples, tuple[str, ...]]:
    """MNIST's 60,000 training and 10,000 test images, 28x28, and its classes (LeCun, Cortes and Burges).

    Args:
        mirrors: as `decoded`.

    Raises:
        NoMirrorError, OSError: as `decoded`.
    """
    from torchvision.datasets import MNIST  # seconds to import, as below

    return *decoded(MNIST, mirrors), numbered(10)


def fashion(mirrors: Sequence[str]) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Fashion-MNIST's 60,000 training and 10,000 test images, 28x28, and its classes (Xiao, Rasul and Vollgraf 2017).

    Args:
        mirrors: as `decoded`.

    Raises:
        NoMirrorError, OSError: as `decoded`.
    """
    from torchvision.datasets import FashionMNIST

    return *decoded(FashionMNIST, mirrors), tuple(FashionMNIST.classes)


def decoded(dataset: type[MNIST], mirrors: Sequence[str]) -> tuple[Examples, Examples]:
    """The training and test images of one of torchvision's data sets in MNIST's format, verified by their digests.

    Args:
        mirrors: addresses to try in turn, each a folder, `file://`, `http://` or `https://`; before them comes
            the one in the environment variable SHIFTLAB_MIRROR, after them come torchvision's own.

    Raises:
        NoMirrorError: a file is neither here already nor to be had from any mirror.
        OSError: it can't be kept in data/published/, where it is not fetched again.
    """
    own = os.environ.get("SHIFTLAB_MIRROR")
    kept = root() / "data" / "published" / dataset.__name__
    addresses = [*([own] if own else []), *mirrors, *dataset.mirrors]
    with TemporaryDirectory() as folder:
        raw = Path(folder, dataset.__name__, "raw")
        raw.mkdir(parents=True)
        for name, md5 in dataset.resources:
            content = _here(kept, name, md5)
            if content is None:
                content = fetch(name, md5, addresses, dataset.__name__)
                files.write(kept / (name if _packed(content) else Path(name).stem), content)
            (raw / name).with_suffix("").write_bytes(gzip.decompress(content) if _packed(content) else content)
        parts = [dataset(folder, train=train) for train in (True, False)]
    train, test = (Examples(part.data.unsqueeze(1), part.targets) for part in parts)
    return train, test


def _here(folder: Path, name: str, md5: str) -> bytes | None:
    """The file, packed or not, if an earlier attempt has kept it whole."""
    for path in (folder / name, folder / Path(name).stem):
        if path.exists() and _is_published(content := path.read_bytes(), md5):
            return content
    return None


def fetch(name: str, md5: str, mirrors: Sequence[str], dataset: str = "MNIST") -> bytes:
    """The content of the published file `name`, from the first mirror that has it whole.

    Args:
        md5: of the file.
        dataset: torchvision's name for what it belongs to.

    Returns:
        The file's bytes; from a folder they may be those that it unpacks to.

    Raises:
        NoMirrorError: with each mirror's reason and the ways to go on.
    """
    reasons = []
    for mirror in mirrors:
        attempts = Retrying(
            retry=retry_if_exception_type(_BrokenError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=BACK_OFF_S),
            reraise=True,
        )
        try:
            if folder := _folder(mirror):
                return _copy(folder, name, md5, dataset)
            return attempts(_fetch_once, mirror, name, md5)
        except _RefusedError as refusal:
            reasons.append(f"{mirror}: {refusal}")
    raise NoMirrorError(
        f"{name} of {dataset} could not be downloaded ({'; '.join(reasons)}).",
        f"Name a copy of {dataset}'s four files (a folder, file:// or http://) in the environment variable "
        "SHIFTLAB_MIRROR, or run on the digits that scikit-learn carries: `make demo`",
    )


def _folder(mirror: str) -> Path | None:
    """The folder that a mirror is, if it is one."""
    if mirror.startswith("file:"):
        return Path(urllib.request.url2pathname(urlsplit(mirror).path))
    return None if mirror.startswith(("http:", "https:")) else Path(mirror)


def _copy(folder: Path, name: str, md5: str, dataset: str) -> bytes:
    """The published file out of a folder, under any of the names that people have it by."""
    others = []
    for path in _candidates(folder, name, md5, dataset):
        if path.is_file():
            content = path.read_bytes()
            if _is_published(content, md5):
                return content
            others.append(f"{path.relative_to(folder)} is another file (MD5 {_md5(content)}, not {md5})")
    if others:
        raise _RefusedError("; ".join(others))
    if not folder.is_dir():
        raise _RefusedError("no such folder")
    looked_for = [str(path.relative_to(folder)) for path in _candidates(folder, name, md5, dataset)]
    there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(there) - MOST_NAMES} more" if len(there) > MOST_NAMES else ""
    raise _RefusedError(
        f"no such file (looked for {', '.join(looked_for)}; found {', '.join(there[:MOST_NAMES]) or 'nothing'}{more})"
    )


def _candidates(folder: Path, name: str, md5: str, dataset: str) -> Iterator[Path]:
    """Where the file may lie: as published, unpacked, with Kaggle's dots, and in torchvision's root."""
    unpacked = Path(name).stem
    names = [name]
    if md5 in UNPACKED:  # else there is nothing to know it by
        names += [unpacked, unpacked.replace("-idx", ".idx"), f"{unpacked}/{unpacked}"]
    for inside in (folder, folder / dataset / "raw", folder / "raw"):
        yield from (inside / each for each in names)


def _is_published(content: bytes, md5: str) -> bool:
    return _md5(content) == md5 or hashlib.sha256(content).hexdigest() == UNPACKED.get(md5)


def _packed(content: bytes) -> bool:
    return content[:2] == b"\x1f\x8b"  # how gzip's files begin


def _fetch_once(mirror: str, name: str, md5: str) -> bytes:
    content = bytearray()
    try:
        url = f"{mirror.rstrip('/')}/{name}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            declared = response.headers.get("Content-Length") or ""
            size = int(declared) if declared.isdecimal() else 0
            with tqdm(desc=url, total=size or None, unit="B", unit_scale=True, leave=False) as bar:
                while block := response.read(1 << 16):
                    content += block
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        kind = _BrokenError if error.code >= 500 or error.code == 429 else _RefusedError
        raise kind(f"HTTP status {error.code} ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _BrokenError(f"{reason!s}") from None
    except ValueError as error:  # from the address, or from the one it redirects to
        raise _RefusedError(f"not an address that can be opened ({error})") from None
    if len(content) < size:
        raise _BrokenError(f"broke off after {len(content):,} of {size:,} bytes")
    if _md5(content) != md5:
        looks = "a web page" if content.lstrip()[:1] == b"<" else f"another file (MD5 {_md5(content)}, not {md5})"
        raise _RefusedError(f"sent {looks}")
    return bytes(content)


def _md5(content: bytes | bytearray) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
