"""Published files: from a mirror or a copy that somebody has, verified by their digests, and kept.

torchvision's own download gives up on the first corrupted file, writes under the final name and neither waits nor
retries, so only its lists of files and its mirrors are used.
"""

import hashlib
import http.client
import io
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from shiftlab import files
from shiftlab.errors import NoMirrorError
from shiftlab.repository import root

ATTEMPTS = 3  # a mirror's chances with one file
TIMEOUT_S = 20.0  # of connecting, and of every read
MOST_NAMES = 8  # of a folder's content, in a message


class _MirrorError(Exception):
    """A mirror does not have a file, or has another."""


class _TransientError(_MirrorError):
    """A failure that may be gone at the next attempt."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published data set, and the digests to know it by."""

    dataset: str  # torchvision's name of the data set
    name: str
    md5: str
    unpacked_sha256: str | None = None  # of what a .gz file holds, where that may stand for the file

    def matches(self, content: bytes) -> bool:
        """Return whether this is the file, or what it unpacks to."""
        return _md5(content) == self.md5 or hashlib.sha256(content).hexdigest() == self.unpacked_sha256

    def paths(self, folder: Path) -> list[Path]:
        """Return where it may lie in a folder: as published, unpacked, with Kaggle's dots, in torchvision's root."""
        names = [self.name]
        if self.unpacked_sha256:  # else there is nothing to know it by
            unpacked = Path(self.name).stem
            names += [unpacked, unpacked.replace("-idx", ".idx"), f"{unpacked}/{unpacked}"]
        return [inside / name for inside in (folder, folder / self.dataset / "raw", folder / "raw") for name in names]


def fetch(file: PublishedFile, mirrors: Sequence[str]) -> bytes:
    """Return a published file's content, or what it unpacks to: kept by an earlier call, or downloaded and kept.

    Args:
        mirrors: as `download`; before them comes the address in the environment variable SHIFTLAB_MIRROR.

    Raises:
        NoMirrorError: as `download`.
        OSError: it can't be kept in data/published/, where it is not downloaded again.
    """
    folder = root() / "data" / "published" / file.dataset
    with suppress(_MirrorError):
        return _read(file, folder)
    content = download(file, [*filter(None, [os.environ.get("SHIFTLAB_MIRROR")]), *mirrors])
    files.write(folder / (file.name if _md5(content) == file.md5 else Path(file.name).stem), content)
    return content


def download(file: PublishedFile, mirrors: Sequence[str]) -> bytes:
    """Return a published file's content, from the first mirror that has it whole; a folder may have it unpacked.

    Args:
        mirrors: addresses to try in turn, each a folder, `file://`, `http://` or `https://`.

    Raises:
        NoMirrorError: with each mirror's reason and the ways to go on.
    """
    reasons = []
    for mirror in mirrors:
        try:
            if mirror.startswith(("http:", "https:")):
                return _request(file, mirror)
            local = urllib.request.url2pathname(urlsplit(mirror).path) if mirror.startswith("file:") else mirror
            return _read(file, Path(local))
        except _MirrorError as error:
            reasons.append(f"{mirror}: {error}")
    raise NoMirrorError(
        f"{file.name} of {file.dataset} could not be downloaded ({'; '.join(reasons)}).",
        f"Name a copy of {file.dataset}'s files (a folder, file:// or http://) in the environment variable "
        "SHIFTLAB_MIRROR, or run on the digits that scikit-learn carries: `make demo`",
    )


def _read(file: PublishedFile, folder: Path) -> bytes:
    """Return the file's content out of a folder, under any of the names that people have it by."""
    mismatches = []
    for path in filter(Path.is_file, file.paths(folder)):
        content = path.read_bytes()
        if file.matches(content):
            return content
        mismatches.append(f"{path.relative_to(folder)} is another file (MD5 {_md5(content)}, not {file.md5})")
    if mismatches:
        raise _MirrorError("; ".join(mismatches))
    if not folder.is_dir():
        raise _MirrorError("no such folder")
    places = ", ".join(str(path.relative_to(folder)) for path in file.paths(folder))
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    raise _MirrorError(f"no such file (looked for {places}; found {', '.join(names[:MOST_NAMES]) or 'nothing'}{more})")


@retry(
    retry=retry_if_exception_type(_TransientError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(),
    reraise=True,
)
def _request(file: PublishedFile, mirror: str) -> bytes:
    """Return the file's content from a mirror of HTTP's; attempts are 1 s apart, then 2 s and so on."""
    buffer = io.BytesIO()
    try:
        url = f"{mirror.rstrip('/')}/{file.name}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            declared = response.headers.get("Content-Length") or ""
            size = int(declared) if declared.isdecimal() else 0
            with tqdm.wrapattr(response, "read", desc=url, total=size or None, leave=False) as stream:
                shutil.copyfileobj(stream, buffer)
    except urllib.error.HTTPError as error:
        kind = _TransientError if error.code >= 500 or error.code == 429 else _MirrorError
        raise kind(f"HTTP status {error.code} ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(str(getattr(error, "reason", error))) from None
    except ValueError as error:  # from the address, or from the one it redirects to
        raise _MirrorError(f"not an address that can be opened ({error})") from None
    content = buffer.getvalue()
    if len(content) < size:
        raise _TransientError(f"broke off after {len(content):,} of {size:,} bytes")
    if _md5(content) != file.md5:
        looks = "a web page" if content.lstrip()[:1] == b"<" else f"another file (MD5 {_md5(content)}, not {file.md5})"
        raise _MirrorError(f"sent {looks}")
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
