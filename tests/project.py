"""Repositories for the tests that run the pipeline, so that the workspace stays as it is."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dvc.utils.hydra import compose_and_dump

ROOT = Path(__file__).parents[1]
PATIENCE_S = 3000  # with a command; the longest take ten minutes where a machine is busy
MODELS = ["mlp", "lenet"]  # of a quick project
# What git keeps of the workspace's own results; the study's are what its report shows whatever else has run.
OUTPUTS = re.compile(r"dvc\.lock|metrics/(?!study\.json).*|plots/.*|reports/(?!study/).*")


class Project:
    """A git and DVC repository with this tree's code."""

    def __init__(self, root: Path) -> None:
        self.root = root
        isolated = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
        self.environment = {
            **isolated,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "true",
            "DVC_GLOBAL_CONFIG_DIR": str(root.parent / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(root.parent / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def run(
        self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; stdout holds what it printed, errors included."""
        with tempfile.TemporaryFile("w+") as output:  # a pipe would wait for whatever it has started and left behind
            done = subprocess.run(
                command,
                cwd=self.root,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_S,
            )
            output.seek(0)
            done.stdout = output.read()
        assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}"
        return done

    def dvc(self, *arguments: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check).stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def compose(self, *overrides: str) -> None:
        """Write params.yaml as `dvc exp run -S ...` does, and commit everything."""
        compose_and_dump(self.root / "params.yaml", str(self.root / "conf"), None, "config", "", list(overrides))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "settings")

    def lose_store(self) -> None:
        """Delete all that MLflow has; only where this process has not opened it, since MLflow keeps a store open."""
        for path in self.root.glob("mlflow.db*"):
            path.unlink()
        shutil.rmtree(self.root / "mlartifacts")

    def copy(self, to: Path) -> "Project":
        """The same repository, cache and outputs included, in another place."""
        shutil.copytree(self.root, to, symlinks=True)
        return Project(to)


def new_project(root: Path, quick: bool = True) -> Project:
    """This tree's files in a fresh repository, without results.

    Args:
        quick: with settings that take seconds: digits, one epoch.
    """
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for file in files:
        if (ROOT / file).is_file() and not OUTPUTS.fullmatch(file):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, root / file)
    project = Project(root)
    if not quick:
        project.git("init", "--quiet")
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", "start")
        return project
    for path in (root / "conf").glob("model/*.yaml"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join("    epochs: 1" if "epochs:" in line else line for line in lines) + "\n")
    every = "".join(f"  - {name}\n" for name in MODELS)
    (root / "conf/model/all.yaml").write_text(f"# @package _global_\ndefaults:\n{every}  - _self_\nmodel: all\n")
    for name, old, new in (
        ("evaluation/default.yaml", "radius: 14", "radius: 2"),
        ("evaluation/default.yaml", "phase: 4", "phase: 2"),
        ("evaluation/default.yaml", "[zero, circular]", "[zero]"),
        ("data/digits.yaml", "radius: 8 # pixels", "radius: 2"),
        ("preset/quick_digits.yaml", "radius: 8", "radius: 2"),
    ):
        settings = root / "conf" / name
        text = settings.read_text()
        assert old in text
        settings.write_text(text.replace(old, new))
    config = root / "conf/config.yaml"  # tests run side by side
    config.write_text(config.read_text().replace("threads: 2", "threads: 1"))
    project.git("init", "--quiet")
    project.compose("data=digits")
    return project
