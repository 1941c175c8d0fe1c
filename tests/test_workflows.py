"""The workflows of .github/ and the hooks before a commit: each step is one that works here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helpers import ROOT, isolated_environment
from tests.project import Project

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(path)
    return content


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_is_one(path: Path) -> None:
    content = read(path)
    assert content["name"] == path.stem
    assert content["permissions"]
    for job in content["jobs"].values():
        assert job["runs-on"]
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))
        assert "${{ github.event" not in step.get("run", "")  # what strangers write is no shell


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_targets_are_makes(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for step in steps(path):
        assert set(re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))) <= set(targets)


def test_supported_pythons_are_tested() -> None:
    supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported
    first, beyond = map(int, supported.groups())
    tested = read(ROOT / ".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(first, beyond)]


def test_hooks_are_those_of_lint() -> None:
    hooks = {hook["id"]: hook["entry"] for hook in read(HOOKS)["repos"][0]["hooks"]}
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    for entry in re.findall(r"\$\(BIN\)/(\S+(?: \w+)?(?: --check)?)", lint):
        assert any(hook.startswith(f".venv/bin/{entry}") for hook in hooks.values()), entry
    assert {"dvc-pre-commit", "dvc-pre-push", "dvc-post-checkout"} <= set(hooks)


@pytest.mark.slow
def test_metrics_before_and_after_a_change_are_put_side_by_side(project: Project) -> None:
    """The steps of pipeline.yml, in a clone, less those that talk to GitHub."""
    (project.root / ".gitignore").write_text((project.root / ".gitignore").read_text() + "/.venv\n")
    (project.root / ".venv").symlink_to(ROOT / ".venv")
    makefile = project.root / "Makefile"
    makefile.write_text(makefile.read_text().replace("setup: .venv/.ready", "setup:"))  # it is there
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "before")
    base = project.git("rev-parse", "HEAD").strip()
    lenet = project.root / "conf/model/lenet.yaml"
    lenet.write_text(lenet.read_text().replace("epochs: 1", "epochs: 2"))
    project.git("commit", "--quiet", "--all", "--message", "train longer")
    summary = project.root / "summary.md"
    environment = {**project.environment, "BASE": base, "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTOR": "someone"}
    for step in steps(ROOT / ".github/workflows/pipeline.yml"):
        if "run" in step and "gh pr" not in step["run"]:
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]], cwd=project.root, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{step['name']}\n{done.stdout}\n{done.stderr}"
    assert re.search(r"\| Path +\| Metric", summary.read_text())  # with no row: the best model is as it was
    assert re.search(r"models\.lenet\.epochs \| 1 +\| 2", summary.read_text())


@pytest.mark.slow
def test_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    done = subprocess.run(
        ["make", "docs", f"PYTHON={sys.executable}"], cwd=tmp_path / "clone", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shiftlab.audits" in (tmp_path / "clone/site/reference/index.html").read_text()
    assert (tmp_path / "clone/site/report/index.html").exists()


@pytest.mark.slow
def test_hooks_pass_on_what_is_committed(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, tmp_path / "clone"], check=True)
    (tmp_path / "clone/.venv").symlink_to(ROOT / ".venv")
    shutil.copy(HOOKS, tmp_path / "clone")
    environment = {**isolated_environment(), "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "hooks")}
    environment["PATH"] = f"{ROOT / '.venv/bin'}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["pre-commit", "run", "--all-files"], cwd=tmp_path / "clone", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "types (make lint)" in done.stdout
