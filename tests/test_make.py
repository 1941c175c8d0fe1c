"""Every target of make as a new user types it: in a bare shell, where no environment is activated."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import verify

from shiftlab import files
from tests.helpers import ROOT
from tests.project import Project
from tests.servers import free_port, running
from tests.test_pipeline import OFFLINE

# What takes all of a machine, changes the requirements, or is what runs this.
ELSEWHERE = {"setup", "test", "test-slow", "bench", "lock", "screenshots", "lint", "readme", "notebook"}
ELSEWHERE |= {"cluster", "docs", "dist", "hooks", "reproduce"}
TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture
def bare(done: Project, tmp_path: Path) -> Project:
    """A finished project with an environment of its own, and nothing else on the PATH or in the environment."""
    (done.root / ".venv").symlink_to(sys.prefix)
    (done.root / ".venv/.ready").touch()
    done.environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", **OFFLINE}
    done.environment |= {name: f"{name}@example.org" for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")}
    done.environment |= {"GIT_AUTHOR_NAME": "Test", "GIT_COMMITTER_NAME": "Test", "no_proxy": "*"}
    return done


def make(project: Project, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    # What is up to date for make: the environment is the one that runs these tests.
    return project.run("make", "--no-print-directory", "--assume-old=.venv/.ready", *words, check=check)


def test_targets_are_known() -> None:
    ours = {"help", "run", "demo", "restore", "show", "sync", "ui", "serve", "play", "verify", "study"}
    assert set(TARGETS) - ELSEWHERE == ours


@pytest.mark.slow
def test_targets_that_end_work_in_a_bare_shell(bare: Project) -> None:
    assert "make verify" in make(bare, "help").stdout
    lines = make(bare, "run").stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert re.fullmatch(r"\[1/8\] download, about .* left", lines[lines.index("") + 3])
    assert [line.split()[0] for line in lines if line.startswith(("MLP", "LeNet"))][:2] == ["MLP", "LeNet-5"]
    assert lines.count("These are scikit-learn's digits, not MNIST.") == 2  # before and after
    assert "preset: quick_digits" in bare.read("params.yaml").decode()
    make(bare, "restore")
    assert bare.git("status", "--porcelain") == "?? .venv\n"  # which is a link here
    assert "Experiment" in make(bare, "show").stdout
    assert "MLflow has" in make(bare, "sync").stdout


@pytest.mark.slow
def test_verify_finds_the_committed_bytes_again(bare: Project) -> None:
    output = make(bare, "verify", "MODELS=mlp").stdout
    assert output.count("| equal |") == 4  # the data; weights, history and predictions
    assert "equal: every output has the bytes of dvc.lock" in output
    assert "committed: processor" in output
    assert "here: processor" in output
    assert bare.git("status", "--porcelain", "--", "src", "dvc.lock", "models") == ""

    unknown = make(bare, "verify", "MODELS=vgg", check=False)
    assert unknown.returncode != 0
    assert "error: no model 'vgg' in the committed params.yaml: choose of mlp, lenet, or all" in unknown.stdout


def test_verify_says_where_there_is_nothing_to_compare_with(project: Project) -> None:
    (project.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (project.root / "metrics/comparison.json").write_text('{"made_on": {"mlp-0": {}}}')
    project.git("add", "--all", "--force")
    project.git("commit", "--quiet", "--message", "no entries")
    ended = project.run(sys.executable, "scripts/verify.py", "mlp", check=False)
    assert ended.returncode == 1
    (sentence,) = ended.stdout.splitlines()
    assert sentence.startswith("error: the committed dvc.lock has no entry for mlp with seed 0")


def test_verify_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("weights", "history"):
        (tmp_path / name).write_text(name)
    digest = files.md5(tmp_path / "weights")
    outputs = [
        {"path": "weights", "md5": digest},
        {"path": "history", "md5": "f" * 32},
        {"path": "on.json", "md5": "0"},
    ]
    assert verify.compare(["train"], tmp_path, {"train": {"outs": outputs}}) == ["history"]
    table = capsys.readouterr().out
    assert f"| weights | {digest} | equal |" in table
    assert f"| history | {'f' * 32} | {files.md5(tmp_path / 'history')} |" in table


@pytest.mark.parametrize(
    ("differing", "processor", "status", "words"),
    [
        ([], "this", 0, "equal: every output"),
        (["history"], "this", 1, "different: 1 outputs have other bytes than dvc.lock, which should not be"),
        (["history"], "another", 0, "made with another processor"),
    ],
)
def test_verdict_blames_another_processor_alone(
    differing: list[str], processor: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.verdict(differing, {"mlp": {"processor": "this"}}, {"mlp": {"processor": processor}}) == status
    told = capsys.readouterr().out
    assert words in told
    assert "committed: processor this" in told
    assert f"here: processor {processor}" in told


@pytest.mark.parametrize(("torch", "status"), [("2.15.0", 1), ("2.16.0", 0)])
def test_portable_bytes_should_be_those_of_another_makers_processor(torch: str, status: int) -> None:
    portable = {"determinism": "portable", "instructions": "AVX2", "threads": "any number"}
    committed = {"mlp": {**portable, "processor": "an Intel", "python": "3.11.2", "torch": "2.15.0"}}
    here = {"mlp": {**portable, "processor": "an AMD", "python": "3.12.1", "torch": torch}}
    assert verify.verdict(["history"], committed, here) == status


def test_cheap_models_are_verified_unless_others_are_named() -> None:
    known = ["mlp", "lenet", "resnet"]
    assert verify.chosen([], known) == ["mlp", "lenet"]
    assert verify.chosen([], ["resnet"]) == ["resnet"]
    assert verify.chosen(["all"], known) == known


@pytest.mark.slow
@pytest.mark.parametrize(("target", "page"), [("ui", ""), ("serve", "/ping"), ("play", "")])
def test_servers_start_in_a_bare_shell(target: str, page: str, bare: Project) -> None:
    port = free_port()
    command = ["make", "--assume-old=.venv/.ready", target, f"PORT={port}"]
    with running(command, bare.root, bare.environment, f"http://127.0.0.1:{port}{page}"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=600).close()


@pytest.mark.parametrize("target", ["run", "demo", "sync", "show", "verify"])
def test_tree_without_git_is_told_both_ways_out(target: str, project: Project, tmp_path: Path) -> None:
    """As after a download as ZIP."""
    shutil.rmtree(project.root / ".git")
    project.environment |= {"GIT_CEILING_DIRECTORIES": str(tmp_path), **OFFLINE}
    (project.root / ".venv").symlink_to(sys.prefix)
    done = make(project, target, check=False)
    assert done.returncode != 0
    sentence, *rest = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert rest == []
    assert "no git repository" in sentence
    assert "git clone" in sentence
    assert "git init" in sentence


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a repository to another user")
def test_repository_of_another_user_is_told_both_ways_out(project: Project) -> None:
    for path in (project.root, project.root / ".git"):
        os.chown(path, 12345, 12345)
    (project.root / ".venv").symlink_to(sys.prefix)
    project.environment |= {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "true"}
    done = make(project, "run", check=False)
    assert done.returncode != 0
    assert "another user owns it" in done.stdout
    assert "chown" in done.stdout
    assert "safe.directory" in done.stdout
    assert "Traceback" not in done.stdout
