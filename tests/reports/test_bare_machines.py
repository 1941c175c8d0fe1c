"""Commands where a machine has less than usual."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import SRC, isolated_environment
from tests.project import Project

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")
MODEL = """
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
"""


def test_shiftlab_audit_without_home_puts_nothing_into_shared_memory(tmp_path: Path) -> None:
    """Nothing is asked of HOME, and nothing is put into /dev/shm, of which containers have 64 MB."""
    (tmp_path / "model.py").write_text(MODEL)
    environment = {name: value for name, value in isolated_environment().items() if name not in ("HOME", "USER")}
    project = Project(tmp_path)
    project.environment = {**environment, "PYTHONPATH": str(SRC), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    before = {path.name for path in Path("/dev/shm").glob("torch_*")}
    options = [
        "--data",
        "digits",
        "--channels",
        "grey",
        "--mean",
        "0",
        "--std",
        "1",
        "--radius",
        "1",
        "--any-accuracy",
        "--quiet",
    ]
    project.run(*SHIFTLAB, "audit", "model.py:build", *options)
    assert {path.name for path in Path("/dev/shm").glob("torch_*")} == before
    assert list(tmp_path.glob("audits/*/report.html"))


NAMELESS = """
import pwd
def nobody(_): raise KeyError
pwd.getpwuid = nobody
from shiftlab.distributed import engine
print(engine.LOCAL)
"""


def test_docker_run_user_of_a_number_that_no_name_belongs_to(tmp_path: Path) -> None:
    """A container's: it has neither a name nor a home, which pathlib's `Path.home` raises for."""
    pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {name: value for name, value in isolated_environment().items() if name not in names}
    environment |= {"PYTHONPATH": str(SRC), "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", NAMELESS]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.stdout == "local\n", process.stderr
