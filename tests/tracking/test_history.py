"""What is found in a git repository's dvc.lock files, old and new."""

import subprocess
from pathlib import Path

import pytest

from shiftlab.tracking import history
from shiftlab.tracking.history import Revision

LOCK = """schema: '2.0'
stages:
  train@mlp-0:
    cmd: python train.py
    deps:
    - path: data/digits
      hash: md5
      md5: {data}.dir
      size: 3
    params:
      params.yaml:
        recipe: notebook
        models.mlp:
          lr: 0.001
    outs:
    - path: models/mlp-0.safetensors
      hash: md5
      md5: {weights}
      size: 5
  compare:
    cmd: python compare.py
"""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(lock: str) -> str:
    """A commit with this dvc.lock; its name."""
    Path("dvc.lock").write_text(lock)
    git("add", "dvc.lock")
    git("-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "--quiet", "--message", "a lock")
    return git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")


def weights(revision: Revision) -> str:
    return revision.outputs("train@mlp-0")["models/mlp-0.safetensors"]


def test_every_lock_is_found_once_oldest_first_then_the_workspace() -> None:
    first = commit(LOCK.format(data="d", weights="first"))
    second = commit(LOCK.format(data="d", weights="second"))
    commit(LOCK.format(data="d", weights="first"))  # gone back to
    Path("dvc.lock").write_text(LOCK.format(data="d", weights="not committed"))
    found = list(history.revisions())
    assert [weights(one) for one in found] == ["first", "second", "not committed"]
    assert [one.tree for one in found] == [first, second, None]
    assert all(one.experiment == history.WORKSPACE for one in found)


def test_revision_tells_what_its_stages_depend_on() -> None:
    commit(LOCK.format(data="d", weights="w"))
    (found,) = history.revisions()
    assert list(found.stages) == ["train@mlp-0", "compare"]
    assert found.inputs("train@mlp-0") == {"data/digits": "d.dir"}
    assert found.params("train@mlp-0") == {"recipe": "notebook", "models.mlp": {"lr": 0.001}}
    assert found.outputs("compare") == {}


def test_experiment_has_its_name_and_what_it_started_from() -> None:
    base = commit(LOCK.format(data="d", weights="base"))
    tip = commit(LOCK.format(data="d", weights="tried"))
    git("reset", "--quiet", "--hard", base)
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/calm-moth", tip)
    _, tried = history.revisions()
    assert (tried.experiment, tried.commit, tried.tree) == ("calm-moth", base, tip)
    assert weights(tried) == "tried"


@pytest.mark.parametrize(
    "broken",
    [
        LOCK.replace("    cmd: python compare.py", "<<<<<<< HEAD\n    cmd: a\n=======\n    cmd: b\n>>>>>>> other"),
        LOCK.replace("  compare:", "<<<<<<< HEAD\n  compare:\n=======\n  other:\n>>>>>>> there"),
        LOCK.replace("      size: 5", "      size: [5"),
        "stages:\n  compare\n",
    ],
)
def test_lock_that_cannot_be_read_is_left_out(broken: str) -> None:
    commit(broken.format(data="d", weights="w"))
    commit(LOCK.format(data="d", weights="whole"))
    assert [weights(one) for one in history.revisions()] == ["whole"]


def test_repository_without_a_lock_has_nothing() -> None:
    git("-c", "user.name=Test", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "empty")
    assert list(history.revisions()) == []
