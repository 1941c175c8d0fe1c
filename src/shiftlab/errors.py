"""What a user's mistake looks like, and how it ends a command: one sentence, exit status 1, no traceback."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake a user can put right. The message names it, says what was expected, and what to do."""


class NoMirrorError(UserError):
    """A published file is not on disk, and no mirror has it."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason} {advice}")
        self.reason = reason  # a sentence


def without_password(address: str) -> str:
    """An address as it may be shown: what stands before an @ in it is a name and perhaps a password."""
    return re.sub(r"(?<=://)[^/@]*@", "***@", address)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra of this package brings.

    Raises:
        UserError: it is not installed; the sentence says how it is.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{error.name or name} is not installed, which this needs: `pip install 'shiftlab[{name}]'`"
        ) from None


@contextmanager
def one_sentence() -> Iterator[None]:
    """End the process with one sentence on stderr where the block raises what a user can act on.

    Raises:
        SystemExit: status 1 for a UserError or an error of the file system, 130 when interrupted.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise  # not about a file: a bug, whose traceback is wanted
        where = f"{error.filename}: " if error.filename else ""
        hint = ": free some space and run the command again" if error.errno == errno.ENOSPC else ""
        sys.exit(f"error: {where}{error.strerror}{hint}")
    except KeyboardInterrupt:
        print("interrupted: run the command again to go on", file=sys.stderr)
        sys.exit(130)
