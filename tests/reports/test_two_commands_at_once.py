"""Two commands at once in one folder, of which the second changes params.yaml under the first."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.project import Project

# In place of a stage that takes long: one that says when it has begun, and ends when it is told to.
STAGE = """
import time
from pathlib import Path

def run(config):
    Path({begun!r}).write_text(str(config.seeds))
    while not Path({end!r}).exists():
        time.sleep(0.1)
    output = Path("data", config.data.name, "dataset.safetensors")
    output.parent.mkdir(exist_ok=True)
    output.write_text("an output")
"""
DVC = (sys.executable, "-m", "dvc")
RUNNER = """
from shiftlab.errors import one_sentence
from shiftlab.pipeline import runner
with one_sentence(), runner.exclusive():
    runner.run({"download": []}, {"download": 1.0}, 1, "make run")
"""


@pytest.fixture
def slow(project: Project, tmp_path: Path) -> Project:
    """A project whose first stage goes on until the test ends it."""
    content = STAGE.format(begun=str(tmp_path / "begun"), end=str(tmp_path / "end"))
    (project.root / "src/shiftlab/pipeline/download.py").write_text(content)
    project.environment["PYTHONPATH"] = str(project.root / "src")
    project.git("commit", "--quiet", "--all", "--message", "a slow stage")
    return project


@contextmanager
def first(project: Project, *command: str) -> Iterator[list[str]]:
    """Run a command until the block is over and then to its end; its lines are there afterwards."""
    lines: list[str] = []
    begun, end = project.root.parent / "begun", project.root.parent / "end"
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.1)
        yield lines
    finally:
        end.touch()
        lines += process.communicate()[0].splitlines()
    assert process.returncode


def refusals(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if "params.yaml has changed since this command began" in line]


@pytest.mark.slow
def test_dvc_exp_run_twice_in_one_workspace(slow: Project) -> None:
    run = (*DVC, "exp", "run", "-S", "data=digits")
    with first(slow, *run, "-S", "seeds=[1]", "download") as lines:
        slow.run(*run, "-S", "seeds=[2]", "download", check=False)
    (sentence,) = refusals(lines)
    assert sentence.startswith("error: ")
    assert "dvc exp run --temp" in sentence
    assert "queue" in sentence
    assert not any("Traceback" in line for line in lines)
    assert slow.git("for-each-ref", "refs/exps/*/*/*") == ""  # no experiment with another's parameters


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*DVC, "repro", "download"), id="dvc repro"),
        pytest.param((sys.executable, "-c", RUNNER), id="make run", marks=pytest.mark.slow),
    ],
)
def test_params_yaml_edited_under_dvc_repro_or_make_run(slow: Project, command: Sequence[str]) -> None:
    params = slow.root / "params.yaml"
    with first(slow, *command) as lines:
        params.write_text(params.read_text().replace("epochs: 1", "epochs: 2"))
    (sentence,) = refusals(lines)
    assert "dvc exp run --temp" in sentence
    assert not (slow.root / "dvc.lock").exists()  # which would say that the output is of the new parameters

    again = slow.run(*command).stdout
    assert refusals(again.splitlines()) == []
    assert "download" in slow.read("dvc.lock").decode()
