"""What a user's mistake looks like, and how it ends a command: one sentence, no traceback."""

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
    """Return an address without the name and the password that may stand before an @ in it."""
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
def as_user_error() -> Iterator[None]:
    """Raise a ValueError of the block as a UserError with the same message."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from None


@contextmanager
def one_sentence(status: int = 1, *, of_network: bool = False) -> Iterator[None]:
    """End the process with one sentence on stderr where the block raises what a user can act on.

    Args:
        of_network: take errors of the system that name no file, as those of the network, for what a user can act on.

    Raises:
        SystemExit: `status` for a UserError or an error of the system, 130 when interrupted.
    """
    try:
        yield
        return
    except UserError as error:
        sentence = f"error: {error}"
    except OSError as error:
        full = error.errno == errno.ENOSPC
        if error.strerror is None or (error.filename is None and not full and not of_network):
            raise  # a bug
        place = f"{error.filename}: " if error.filename else ""
        hint = ": free some space and run the command again" if full else ""
        sentence = f"error: {place}{error.strerror}{hint}"
    except KeyboardInterrupt:
        status, sentence = 130, "interrupted: run the command again to go on"
    print(sentence, file=sys.stderr)
    sys.exit(status)
