"""Files that are complete or absent, since they are written under another name and renamed; digests; tables."""

import csv
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shiftlab.errors import UserError


def write(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8, in a folder that is made where it is missing; replace an earlier one as a whole.

    Raises:
        OSError: the disk is full or the folder can't be written; `filename` is set, `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # .dvcignore knows the ending
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield an empty folder, whose files and folders take the place of those called `names` in `folder`, in one go.

    What else lies in `folder` stays. Where the block fails, all of it stays. The first of `names` is what the others
    are known by: it goes first and comes last, so that a power cut leaves no mixture that passes for a result.

    Raises:
        OSError: as `write`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as place:  # on the same disk
            new, old = Path(place, "new"), Path(place, "old")
            new.mkdir()
            old.mkdir()
            yield new
            for name in names:
                if (folder / name).exists():
                    (folder / name).rename(old / name)
            for path in sorted(new.iterdir(), key=lambda path: path.name == names[0]):
                path.rename(folder / path.name)
    except OSError as error:
        if ".part" in str(error.filename):  # a name that says nothing to people
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


def md5(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal digits: the name that DVC knows its content by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV with one line for the header and one for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def lines(path: Path, what: str, comments: bool = True) -> list[str]:
    """Return the lines of a user's text file but empty ones, with or without a byte order mark.

    Args:
        what: what each line holds, for a message.
        comments: does `#`, first or after a space, begin one? Else it is a letter like others.

    Raises:
        UserError: no such file, not text, or nothing in it; a line that is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: it has to be a text file in UTF-8 with {what} on each line") from None
    if comments:
        text = re.sub(r"(^|\s)#.*", "", text, flags=re.MULTILINE)
    stripped = list(filter(None, map(str.strip, text.splitlines())))
    if not stripped or len(set(stripped)) < len(stripped):
        raise UserError(f"{path} is empty, or has a line twice: it has to have {what} on each line")
    return stripped
