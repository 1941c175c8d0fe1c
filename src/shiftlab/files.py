"""Files that are complete or absent, since they are written under another name and renamed; digests; tables."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
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


def lines(path: Path, what: str) -> list[str]:
    """Return the lines of a user's text file, without comments, which `#` begins, and empty ones.

    Args:
        what: what each line holds, for a message.

    Raises:
        UserError: no such file, not text, or nothing in it; a line that is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: it has to be a text file with {what} on each line") from None
    stripped = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not stripped or len(set(stripped)) < len(stripped):
        raise UserError(f"{path} is empty, or has a line twice: it has to have {what} on each line")
    return stripped
