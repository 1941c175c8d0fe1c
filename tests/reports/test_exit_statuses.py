"""Exit statuses of `shiftlab`: 0 done, 1 a threshold was missed, 2 all else."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from shiftlab import cli
from shiftlab.audits import comparison
from shiftlab.audits import run as audits
from tests.helpers import SRC

DIGITS = ["audit", "tests.audits.models:build", "--data", "digits"]
# Audits that are done at once, without PyTorch, which takes long to import.
END = """
import sys
from types import SimpleNamespace
done = SimpleNamespace(passed=sys.argv.pop(1) == "passed", table=lambda: "a table", summary=lambda: {})
sys.modules["shiftlab.audits.comparison"] = SimpleNamespace(compare=lambda *_: "a table")
sys.modules["shiftlab.audits.run"] = SimpleNamespace(run=lambda *_: done)
from shiftlab import cli
cli.main()
"""


def shell(command: str, cwd: Path) -> int:
    """Return the status of the first command of a shell's pipe: `shiftlab`, whose audits hold or fail at once."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHON": sys.executable, "END": END}
    script = command.replace("shiftlab", '"$PYTHON" -c "$END"') + "; exit ${PIPESTATUS[0]}"
    return subprocess.run(["bash", "-c", script], cwd=cwd, env=environment, stderr=subprocess.PIPE).returncode


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("shiftlab passed audit m.py:build --data digits > out.txt", 0),
        ("shiftlab missed audit m.py:build --data digits > out.txt", 1),
        ("shiftlab passed audit m.py:build --data digits | true", 0),
        ("shiftlab missed audit m.py:build --data digits | true", 1),
        ("shiftlab missed audit m.py:build --data digits > /dev/full", 2),
        ("shiftlab passed audit m.py:build --data digits > /dev/full", 2),
        ("shiftlab missed audit m.py:build --data digits >&-", 1),
        ("shiftlab passed compare a b | true", 0),
        ("shiftlab passed audit m.py:build --data $'caf\\xe9'", 2),
    ],
)
def test_shell_reads_the_status(command: str, status: int, tmp_path: Path) -> None:
    assert shell(command, tmp_path) == status


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        *([name, "--no-such-option"] for name in ("audit", "compare", "play", "sweep", "tune", "init")),
        ["audit"],
        ["audit", "m.py:build"],
        ["compare", "a"],
        ["compare", "nowhere", "nothing"],
        ["play", "nowhere.safetensors"],
        ["sweep", "--name", "two words"],
        ["tune", "--trials", "0"],
        ["init", "."],
    ],
    ids=" ".join,
)
def test_mistakes_of_every_command(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "Aborted" not in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"]])
def test_help_is_done(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "interrupted: run the command again to go on"),
        (EOFError("of a library"), "EOFError: of a library"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
        (MemoryError(), "MemoryError"),
        (ConnectionResetError(104, "Connection reset by peer"), "error: Connection reset by peer"),
        (BrokenPipeError(32, "Broken pipe"), "error: Broken pipe"),
        (SystemExit(1), ""),  # DVC's, in a sweep
        (SystemExit(0), ""),
        (SystemExit("a message"), ""),
    ],
)
@pytest.mark.parametrize(
    ("module", "name", "arguments"), [(audits, "run", DIGITS), (comparison, "compare", ["compare", "a"])]
)
def test_every_other_end(
    error: BaseException,
    words: str,
    module: ModuleType,
    name: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, name, end)
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Aborted" not in result.output


def test_ctrl_c(tmp_path: Path) -> None:
    run = "lambda *_: (print('begun', flush=True), time.sleep(60))"
    code = END.replace("lambda *_: done", run).replace("import sys", "import signal, sys, time", 1)
    # A shell that starts the tests in the background has them ignore the signal.
    code = code.replace("cli.main()", "signal.signal(signal.SIGINT, signal.default_int_handler)\ncli.main()")
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "passed", *DIGITS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "interrupted: run the command again to go on\n"
    assert process.returncode == 2


@pytest.mark.parametrize("damage", ["empty", "cut off", "one bit flipped", "no zip", "no images"])
def test_audit_of_a_damaged_npz(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez_compressed("whole.npz", images=np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), labels=[0, 1])
    whole = Path("whole.npz").read_bytes()
    half = len(whole) // 2
    np.savez("none.npz", images=np.zeros((0, 28, 28), np.uint8))
    contents = {
        "empty": b"",
        "cut off": whole[:half],
        "one bit flipped": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "no zip": b"images",
        "no images": Path("none.npz").read_bytes(),
    }
    Path("damaged.npz").write_bytes(contents[damage])
    result = CliRunner().invoke(cli.app, ["audit", "m.py:build", "--data", "damaged.npz"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: damaged")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("status", ["0", "1", "'a message'"])
def test_audit_of_a_script_that_exits(status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(f"import sys\nsys.exit({status})\n")
    result = CliRunner().invoke(cli.app, ["audit", "script.py:build", "--data", "digits"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: script.py fails: SystemExit")
