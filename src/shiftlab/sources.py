"""Where data comes from: MNIST from its mirrors, the digits out of scikit-learn."""

import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import torch
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from shiftlab import files
from shiftlab.data import Examples
from shiftlab.errors import UserError
from shiftlab.params import SourceName

ATTEMPTS = 3  # a mirror's chances with one file
BACK_OFF_S = 1.0  # before the second; doubled before each one more
TIMEOUT_S = 20.0  # of connecting, and of every read


class NoMirrorError(UserError):
    """No mirror has the file."""


class _RefusedError(Exception):
    """A mirror's final answer for a file."""


class _BrokenError(_RefusedError):
    """A mirror's answer that the next attempt may better."""


def acquire(name: SourceName, folder: Path, mirrors: Sequence[str]) -> tuple[Examples, Examples]:
    """Training and test images of the source `name`.

    Args:
        folder: where downloaded files are kept; a verified file in it is not fetched again.
        mirrors: addresses to try in turn, each a folder, `file://`, `http://` or `https://`; before them comes
            the one in the environment variable SHIFTLAB_MIRROR, after them come torchvision's own.

    Raises:
        NoMirrorError: a file is neither in `folder` nor to be had from any mirror.
        OSError: `folder` can't be written.
    """
    return SOURCES[name](folder, mirrors)


def mnist(folder: Path, mirrors: Sequence[str]) -> tuple[Examples, Examples]:
    """MNIST's 60,000 and 10,000 images, as published, verified against torchvision's digests.

    torchvision's own download gives up on the first corrupted file, writes under the final name and neither
    waits nor retries, so only its list of files, its mirrors and its decoder are used.
    """
    from torchvision.datasets import MNIST  # seconds to import, and only MNIST needs it

    published = dict(MNIST.resources)
    own = os.environ.get("SHIFTLAB_MIRROR")
    fetched = Path(os.environ.get("DVC_ROOT", ""), "data", "mnist")  # what lies on a canvas is the same four files
    addresses = [*([own] if own else []), *([str(fetched)] if fetched.exists() else []), *mirrors, *MNIST.mirrors]
    for name, md5 in published.items():
        if not (folder / name).exists() or _md5((folder / name).read_bytes()) != md5:
            files.write(folder / name, fetch(name, md5, addresses))
    with TemporaryDirectory() as root:
        raw = Path(root, "MNIST", "raw")
        raw.mkdir(parents=True)
        for name in published:
            (raw / name).with_suffix("").write_bytes(gzip.decompress((folder / name).read_bytes()))
        parts = [MNIST(root, train=train) for train in (True, False)]
    train, test = (Examples(part.data, part.targets) for part in parts)
    return train, test


def digits(folder: Path, mirrors: Sequence[str]) -> tuple[Examples, Examples]:  # noqa: ARG001
    """scikit-learn's 1,797 handwritten digits in MNIST's format: 8x8 in 0..16 to 20x20 in 0..255, centred in 28x28.

    A fifth is the test set, drawn once and for all.
    """
    from sklearn.datasets import load_digits
    from torch.nn.functional import interpolate, pad

    from shiftlab.data import split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).unsqueeze(1) * (255 / 16)
    images = interpolate(small, size=(20, 20), mode="bilinear").round().to(torch.uint8)
    everything = Examples(pad(images.squeeze(1), (4, 4, 4, 4)), torch.from_numpy(bunch.target).long())
    return split(everything, size=len(everything) // 5, seed=0)


SOURCES: dict[SourceName, Callable[[Path, Sequence[str]], tuple[Examples, Examples]]] = {
    "mnist": mnist,
    "digits": digits,
}


def fetch(name: str, md5: str, mirrors: Sequence[str]) -> bytes:
    """The content of the published file `name`, from the first mirror that has it whole.

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
            return attempts(_fetch_once, mirror, name, md5)
        except _RefusedError as refusal:
            reasons.append(f"  {mirror}: {refusal}")
    raise NoMirrorError(
        "\n".join([f"{name} could not be had from any mirror:", *reasons])
        + "\nTwo ways to go on: name a copy of MNIST's four files (a folder, file:// or http://) in the environment"
        " variable SHIFTLAB_MIRROR, or run on the digits that scikit-learn carries: `dvc exp run -S data=digits`"
    )


def _address(mirror: str, name: str) -> str:
    base = mirror if urlsplit(mirror).scheme in ("file", "http", "https") else Path(mirror).resolve().as_uri()
    return f"{base.rstrip('/')}/{name}"


def _fetch_once(mirror: str, name: str, md5: str) -> bytes:
    content = bytearray()
    try:
        url = _address(mirror, name)
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
        missing = isinstance(reason, FileNotFoundError)
        raise (_RefusedError if missing else _BrokenError)("no such file" if missing else f"{reason!s}") from None
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
