"""Sweeps and searches on machines with settings of their own: long paths, git's defaults, few cores, little memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

from shiftlab.distributed import node
from shiftlab.distributed.node import Job, Origin
from tests.helpers import SRC, isolated_environment
from tests.project import Project

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")
CONNECT = (
    "from shiftlab.distributed import engine\n"
    "with engine.connected('local'):\n"
    "    print(engine.cores(), engine.ray._private.worker._global_node.get_temp_dir_path())"
)


def connect(folder: Path, *before: str, **environment: str) -> str:
    process = subprocess.run(
        [*before, sys.executable, "-c", CONNECT],
        cwd=folder,
        env={**isolated_environment(), "PYTHONPATH": str(SRC), **environment},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs taskset")
def test_shiftlab_sweep_under_taskset_with_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    core = min(os.sched_getaffinity(0))
    assert connect(tmp_path, "taskset", "--cpu-list", str(core), TMPDIR=str(long)) == "1 /tmp/ray\n"


@pytest.mark.slow
def test_shiftlab_sweep_with_clone_default_remote_name_set(project: Project, tmp_path: Path) -> None:
    """What a node does: it clones, runs, and sends the results home."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[clone]\n\tdefaultRemoteName = upstream\n")
    home = str(project.root)
    environment = {**project.environment, "GIT_CONFIG_GLOBAL": str(settings), "PYTHONPATH": str(SRC)}
    origin = Origin(home, project.git("rev-parse", "HEAD").strip(), home, environment)
    node.PATIENCE_S, before = 0, node.PATIENCE_S
    try:
        node.run(Job("named-1", ("data=digits", "threads=1"), ("download",)), origin)
    finally:
        node.PATIENCE_S = before
    assert project.git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/*").split() == ["named-1"]


@pytest.mark.slow
def test_shiftlab_tune_of_the_same_search_twice_at_once(project: Project) -> None:
    pytest.importorskip("optuna")
    holding = (
        "import sys\nfrom shiftlab import repository\nfrom shiftlab.tuning import search\n"
        "choices = search.sweep.with_defaults(('model=mlp', 'data=digits'), 'threads=1', 'determinism=native')\n"
        "first = search.Search('mlp', choices, 1, 1, None, False, 0)\n"
        "with search.Trials(first, search.sweep.composed(choices)).exclusive():\n"
        "    print('at it', flush=True)\n    sys.stdin.read()\n"
    )
    mine = {"PYTHONPATH": str(project.root / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", holding],
        cwd=project.root,
        env={**project.environment, **mine},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout
        assert first.stdin
        assert first.stdout.readline() == "at it\n"
        command = (*SHIFTLAB, "tune", "mlp", "-S", "data=digits", "--trials", "1", "--minutes", "1")
        second = project.run(*command, check=False, environment=mine)
        first.stdin.close()
    assert second.returncode == 2
    *_, sentence = second.stdout.splitlines()
    assert sentence.startswith(f"error: process {first.pid} is at the search tune-mlp-")
    assert "wait for it" in sentence
