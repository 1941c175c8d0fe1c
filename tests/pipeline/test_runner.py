"""What runs stages for `make run`: in a real DVC repository of a few stages, which take seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shiftlab.errors import UserError
from shiftlab.pipeline import runner
from tests.helpers import ROOT
from tests.project import Project

STAGES = {
    "one": {"cmd": "echo 1 > one", "outs": ["one"]},
    "two": {"cmd": "echo 2 > two", "outs": ["two"]},
    "three": {"cmd": "cat one two > three", "deps": ["one", "two"], "outs": ["three"]},
}
RUN = """
import json, sys
sys.path.insert(0, {src!r})
from shiftlab import repository
from shiftlab.errors import one_sentence
from shiftlab.pipeline import runner
with one_sentence(), runner.exclusive():
    stages = repository.stages()
    print(runner.run(stages, dict.fromkeys(stages, 2.0), 2, "make run"))
"""


@pytest.fixture
def few(tmp_path: Path) -> Project:
    """A repository with three stages, of which the last needs the others."""
    (tmp_path / "few").mkdir()
    project = Project(tmp_path / "few")
    write(project, STAGES)
    project.git("init", "--quiet")
    project.dvc("init", "--quiet")
    (project.root / "run.py").write_text(RUN.format(src=str(ROOT / "src")))
    return project


def write(project: Project, stages: object) -> None:
    (project.root / "dvc.yaml").write_text(json.dumps({"stages": stages}))  # which is YAML too


def test_stages_run_in_an_order_that_they_can_run_in(few: Project) -> None:
    lines = few.run(sys.executable, "run.py").stdout.splitlines()
    assert few.read("three") == b"1\n2\n"
    assert [line.partition(",")[0] for line in lines[:2]] in (["[1/3] one", "[2/3] two"], ["[1/3] two", "[2/3] one"])
    assert lines[2].startswith("[3/3] three, about")
    assert float(lines[3]) > 0
    *_, ratio = few.run(sys.executable, "run.py").stdout.splitlines()
    assert ratio == "None"  # nothing was to do, which tells nothing of the machine
    assert "Data and pipelines are up to date" in few.dvc("status")


def test_stage_that_fails_ends_all_with_its_own_sentence(few: Project) -> None:
    fails = {"cmd": "echo 'error: the disk is full: free some space' && exit 1", "outs": ["one"]}
    write(few, {**STAGES, "one": fails, "two": {"cmd": "sleep 600", "outs": ["two"]}})
    ended = few.run(sys.executable, "run.py", check=False)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == (
        "error: one: the disk is full: free some space; `make run` goes on from here"
    )
    assert "Traceback" not in ended.stdout
    write(few, STAGES)  # put right, it goes on
    few.run(sys.executable, "run.py")
    assert few.read("three") == b"1\n2\n"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_interruption_reaches_the_stages_and_the_next_goes_on(ending: signal.Signals, few: Project) -> None:
    waits = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(600)"
    write(few, {**STAGES, "two": {"cmd": f'python -c "{waits}"', "outs": ["two"]}})
    command = [sys.executable, "run.py"]
    with subprocess.Popen(
        command, cwd=few.root, env=few.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as running:
        while not (few.root / "begun").exists():
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(ending)
        _, said = running.communicate()
    assert running.returncode == 130
    assert said.splitlines()[-1] == "interrupted: run the command again to go on"
    assert "Traceback" not in said
    write(few, STAGES)
    few.run(sys.executable, "run.py")
    assert few.read("three") == b"1\n2\n"


def test_second_command_is_refused_while_the_first_runs(few: Project) -> None:
    os.chdir(few.root)
    try:
        with runner.exclusive(), pytest.raises(UserError, match="at work in this folder already"), runner.exclusive():
            pass
    finally:
        os.chdir(ROOT)


def test_time_left_follows_what_stages_took() -> None:
    clock = runner.Clock({"one": 10.0, "two": 30.0, "three": 20.0}, jobs=2)
    assert clock.left({}) == 30.0
    assert clock.ratio is None
    clock.durations["one"] = 20.0  # twice as long as expected
    assert clock.ratio == 2
    assert clock.left({"two": 40.0}) == 30.0
    assert clock.left({"two": 500.0}) == 0
    clock.skipped.add("two")
    assert clock.left({}) == 20.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 10 s"), (44, "about 40 s"), (61, "about 1 min"), (3000, "about 50 min"), (9000, "about 2.5 hours")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert runner.in_words(seconds) == words


def test_stages_for_people() -> None:
    assert runner.label("predict@lenet-0-zero") == "predict lenet seed 0, zero"
    assert runner.label("study@max_shifts") == "study max_shifts"
