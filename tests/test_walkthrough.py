"""What README.md and CONTRIBUTING.md tell people to type, typed: every command, in its order, in one project.

It takes minutes, so it is left out unless asked for: `pytest -m walkthrough`.
"""

import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import Project
from tests.test_docs import commands

pytestmark = pytest.mark.walkthrough

ELSEWHERE = {
    "make run": "TestMakeRun of tests/test_pipeline.py; it is the first command that a user types",
    "make setup": "every other target begins with it",
    "make test": "this is part of it",
    '.venv/bin/python -m pytest -n 2 -k "not pipeline"': "this is part of it",
    ".venv/bin/python -m pytest -s -m walkthrough": "this is it",
    "make ui": "tests/test_ui.py and tests/test_browser.py; it does not end by itself",
    "make screenshots": "tests/test_browser.py goes the same way",
    "make study": "tests/test_study_pipeline.py; it takes hours",
    "make study CHOICES=data=digits": "tests/test_study_pipeline.py; it takes minutes",
    "dvc exp run -S study=claims": "tests/test_study_pipeline.py; it takes hours",
    "make test-slow": "this runs beside it",
    "make setup && .venv/bin/uv pip install --python .venv/bin/python --torch-backend cpu --reinstall-package torch "
    "--reinstall-package torchvision torch torchvision": "it needs another index of packages",
    "make cluster": "what tests of sweeps and searches need",
    "make play": "tests/test_play.py; it does not end by itself",
    "make notebook": "tests/test_notebook.py",
    "shiftlab sweep -S model=mlp,lenet -S 'seeds=[0],[1]'": "tests/distributed/test_sweep.py and test_faults.py",
    "shiftlab tune lenet --faster 10": "tests/tuning/test_search.py; it takes half an hour",
    "shiftlab tune lenet --shifted": "tests/tuning/test_search.py; it takes half an hour",
    "shiftlab tune resnet -S data=fashion --trials 100 --minutes 600": "tests/tuning/test_search.py; it takes hours",
    "shiftlab audit model.pt --data pictures --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --channels rgb "
    "--crop 224 --size 256": "tests/test_cli.py; model and pictures are the reader's",
}


@pytest.fixture
def started(done: Project) -> Project:
    """A finished project with an environment, whose experiments are on the digits and the MLP unless told otherwise."""
    config = done.root / "conf/config.yaml"
    text = config.read_text()
    for old, new in (("data: mnist ", "data: digits "), ("model: all", "model: mlp")):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    done.compose()
    (done.root / ".venv").symlink_to(sys.prefix)
    return done


@pytest.mark.parametrize("page", ["README.md", "docs/experiments.md", "CONTRIBUTING.md"])
def test_every_command_works(page: str, started: Project) -> None:
    pictures = started.root.parent / "pictures"
    some_pictures(pictures)
    words = {"NAME": "named", "BRANCH": "branch", "data.path=PATH": f"data.path={pictures}"}  # a user's own
    mirror = os.environ.get("SHIFTLAB_TEST_MNIST", "")
    environment = {"SHIFTLAB_MIRROR": mirror, "OMP_NUM_THREADS": "1"}
    for command in commands(page):
        if command in ELSEWHERE:
            continue
        if "data=mnist" in command and not mirror:
            print(f"left out, since SHIFTLAB_TEST_MNIST names no folder: {command}")
            continue
        if "data=fashion" in command or "data=cifar10" in command:
            print(f"left out, since it asks the data set's mirrors: {command}")
            continue
        typed = [words.get(word, word) for word in shlex.split(command)]
        if command.startswith("dvc exp run --temp"):
            typed += ["--name", "named"]  # for those after it
        began = time.monotonic()
        output = started.run(*typed, environment=environment).stdout
        print(f"{time.monotonic() - began:6.1f} s  {command}", flush=True)
        if command.startswith("dvc queue start"):
            wait_for_queue(started)
        if command == "make show":
            assert "named" in output
    started.dvc("queue", "stop", check=False)


def some_pictures(folder: Path) -> None:
    """Twenty of each of two kinds."""
    rng = np.random.default_rng(0)
    for kind, most in (("dark", 100), ("light", 255)):
        (folder / kind).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, most, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")


def wait_for_queue(project: Project) -> None:
    deadline = time.monotonic() + 600
    while any(word in (status := project.dvc("queue", "status")) for word in ("Queued", "Running")):
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert "Failed" not in status, status
