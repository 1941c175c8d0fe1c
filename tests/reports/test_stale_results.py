"""`dvc status` after an edit of whatever can change a byte of a training; and where line ends are another system's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.helpers import ROOT
from tests.pipeline.test_dependencies import exempt
from tests.project import Project, new_project

# Runs stages as DVC does, then tells which modules of the package they have loaded.
LOADED = """
import json, runpy, sys
for script, *arguments in json.loads(sys.argv[1]):
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
print(json.dumps(sorted(name for name in sys.modules if name.startswith("shiftlab"))))
"""


def loaded(project: Project, *commands: list[str]) -> list[str]:
    mine = {"PYTHONPATH": str(project.root / "src")}
    process = project.run(sys.executable, "-c", LOADED, json.dumps(commands), environment=mine)
    modules: list[str] = json.loads(process.stdout.splitlines()[-1])
    return modules


def fake_results(project: Project, stage: str) -> None:
    """Have DVC take a stage for up to date, with outputs of any content."""
    with Repo(str(project.root)) as repo:
        (one,) = repo.stage.collect(stage)
        for output in one.outs:
            path = Path(output.fs_path)
            (path if path.suffix else path / "part").parent.mkdir(parents=True, exist_ok=True)
            (path if path.suffix else path / "part").write_text("made before")
    project.dvc("commit", "--force", "--quiet", stage)
    assert "up to date" in project.dvc("status", stage)


@pytest.mark.slow
def test_dvc_status_after_an_edit_of_each_module_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_project(tmp_path / "project")
    project.compose("data=digits", "model=mlp", "study=claims", "seeds=[0]")
    project.run(sys.executable, "src/download.py")
    of_stages = {
        "train@mlp-0": loaded(project, ["src/train.py", "mlp", "0"]),
        "predict@mlp-0": loaded(project, ["src/predict.py", "mlp", "0"]),
        "study@max": loaded(project, ["src/shiftlab/pipeline/study.py"]),
    }
    monkeypatch.chdir(project.root)
    for stage, modules in of_stages.items():
        fake_results(project, stage)
        edited = [module for module in modules if not exempt(module, stage.partition("@")[0])]
        edited = [module for module in edited if not module.startswith("shiftlab.data.sources.")]  # `download`'s
        assert [module for module in edited if not is_stale_after_an_edit(stage, module)] == []
    assert "shiftlab.training.augmentation" in of_stages["train@mlp-0"]  # which moves the images


def is_stale_after_an_edit(stage: str, module: str) -> bool:
    path = Path("src", *module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    with Repo() as repo:
        status = repo.status(targets=[stage])
    path.write_bytes(before)
    return bool(status)


def test_git_checkout_with_core_autocrlf_true(tmp_path: Path) -> None:
    """As Git for Windows is set up: a file with other line ends has another digest, and its stage would run again."""
    names = ["src/shiftlab/training/augmentation.py", "conf/config.yaml", "params.yaml", "dvc.yaml", ".gitattributes"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(Path(ROOT, name).read_bytes())
    git = ["git", "-c", "core.autocrlf=true", "-c", "core.safecrlf=false"]
    subprocess.run([*git, "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run([*git, "add", "--all"], cwd=tmp_path, check=True)
    for name in names:
        (tmp_path / name).unlink()
    subprocess.run([*git, "checkout-index", "--all"], cwd=tmp_path, check=True)
    assert [name for name in names if (tmp_path / name).read_bytes() != Path(ROOT, name).read_bytes()] == []
