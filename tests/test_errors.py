import subprocess
from pathlib import Path

import pytest

from shiftlab.errors import UserError, one_sentence
from tests.helpers import run_python


def end(statement: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command of ours that ends with `statement`."""
    code = f"import errno, os, signal\nfrom shiftlab.errors import *\nwith one_sentence():\n    {statement}"
    return run_python("-c", code, cwd=cwd)


def test_users_mistake_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    done = end("raise UserError('the thing is wrong: do another')", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: the thing is wrong: do another\n"
    assert done.stdout == ""


def test_mistake_of_a_kind_of_its_own_counts_too(capsys: pytest.CaptureFixture[str]) -> None:
    class NarrowError(UserError):
        pass

    with pytest.raises(SystemExit, match="2"), one_sentence(2):
        raise NarrowError("narrow")
    assert capsys.readouterr().err == "error: narrow\n"


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("open('.')", "error: .: Is a directory\n"),
        ("open('no/such/folder', 'w')", "error: no/such/folder: No such file or directory\n"),
        (
            "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'models/mlp')",
            "error: models/mlp: No space left on device: free some space and run the command again\n",
        ),
        (
            "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
            "error: No space left on device: free some space and run the command again\n",
        ),
    ],
)
def test_file_systems_refusal_is_one_sentence(statement: str, sentence: str, tmp_path: Path) -> None:
    done = end(statement, tmp_path)
    assert done.returncode == 1
    assert done.stderr == sentence


def test_interrupt_is_status_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    # A shell that starts the tests in the background has them ignore the signal.
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    done = end(f"{listen}; os.kill(os.getpid(), signal.SIGINT); signal.pause()", tmp_path)
    assert done.returncode == 130
    assert done.stderr == "interrupted: run the command again to go on\n"


@pytest.mark.parametrize(
    ("statement", "last_line"),
    [
        ("int('x')", "ValueError: invalid literal for int() with base 10: 'x'"),
        ("raise OSError('of a library')", "OSError: of a library"),
        ("raise ConnectionResetError(104, 'reset')", "ConnectionResetError: [Errno 104] reset"),
    ],
)
def test_bug_keeps_its_traceback(statement: str, last_line: str, tmp_path: Path) -> None:
    done = end(statement, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1] == last_line


def test_success_passes_through(tmp_path: Path) -> None:
    done = end("print('fine')", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
