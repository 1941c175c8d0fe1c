"""The study as users run it: real stages in a real DVC repository, on real digits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.project import Project, new_project
from tests.test_pipeline import PATIENCE_S, every_run, stages_run

# Two variants and a claim, in place of the study's own.
TINY = """
defaults: [none, _self_]
name: [claims]
variants:
  max: {}
  blurred: { components: { downsampling: blurred max } }
claims:
  blur:
    says: A blur before subsampling restores invariance.
    by: Zhang 2019
    contrasts:
      - { first: blurred, second: max, metric: random5, boundary: zero }
      - { first: blurred, second: max, metric: consistency, boundary: circular, secondary: true }
"""

# For all variants: what they learn is not what is tested.
FEW = ("data.validation=1200", "study.baseline.epochs=1", "study.images=10")


def tiny(root: Path) -> Project:
    project = new_project(root)
    (root / "conf/study/claims.yaml").write_text(TINY)
    settings = root / "conf/data/digits.yaml"
    text = settings.read_text()
    assert "epochs: 3" in text
    settings.write_text(text.replace("epochs: 3", "epochs: 1"))
    project.compose("data=digits")
    return project


def study(project: Project, *choices: str, check: bool = True) -> str:
    return project.run(sys.executable, "scripts/run_study.py", "data=digits", *choices, check=check).stdout


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the study has run and its results are committed. Copy it before changing it."""
    project = tiny(tmp_path_factory.mktemp("studied") / "project")
    output = study(project, "--jobs", "2")
    assert "study max, about" in output
    assert "[4/4] decide claims" in output
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "study")
    return project


@pytest.fixture
def mine(studied: Project, tmp_path: Path) -> Project:
    return studied.copy(tmp_path / "project")


@pytest.mark.slow
def test_study_leaves_its_results_and_the_parameters_as_they_were(mine: Project) -> None:
    assert mine.git("status", "--porcelain") == ""
    assert "variants: {}" in mine.read("params.yaml").decode()
    tracked = set(mine.git("ls-files", "study", "metrics", "reports").split())
    assert tracked == {
        "metrics/study.json",
        *(f"reports/study/{name}" for name in ("curves.png", "effects.png", "plane.png", "results.md")),
    }
    assert (mine.root / "study/max/about.json").exists()
    assert b"data:image/png" in mine.read("reports/study/index.html")
    summary = json.loads(mine.read("metrics/study.json"))
    assert summary["seeds"] == [0, 1]
    assert [claim["claim"] for claim in summary["claims"]] == ["blur"]
    assert "A blur before subsampling restores invariance." in mine.read("reports/study/results.md").decode()


@pytest.mark.slow
def test_mlflow_has_the_study_and_below_it_every_training(mine: Project) -> None:
    every = every_run(mine)
    (parent,) = (run for run in every if "study.md5" in run.data.tags)
    note = parent.data.tags["mlflow.note.content"]
    assert f"/runs/{parent.info.run_id}/artifacts/index.html" in note
    assert all(run.info.run_id in note for run in every if "mlflow.parentRunId" in run.data.tags)
    children = [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {
        f"{name} seed {seed}" for name in ("max", "blurred") for seed in (0, 1)
    }
    summary = json.loads(mine.read("metrics/study.json"))
    for run in children:
        (variant,) = (one for one in summary["variants"] if one["variant"] == run.data.params["variant"])
        seed = int(run.data.params["seed"])
        assert run.data.params["downsampling"] == variant["components"]["downsampling"]
        assert run.data.metrics["zero/random5"] == variant["metrics"]["zero"]["random5"]["values"][seed]
    assert parent.data.tags["verdict.blur"] == summary["claims"][0]["verdict"]


@pytest.mark.slow
def test_lost_store_gets_the_study_back(studied: Project, tmp_path: Path) -> None:
    project = studied.copy(tmp_path / "project")
    project.lose_store()
    assert "logged: study on digits" in project.run(sys.executable, "scripts/sync.py").stdout
    (parent,) = (run for run in every_run(project) if "study.md5" in run.data.tags)
    assert parent.data.tags["restored"] == "true"
    assert len([run for run in every_run(project) if "mlflow.parentRunId" in run.data.tags]) == 4
    again = project.run(sys.executable, "scripts/sync.py").stdout
    assert "MLflow has 1 results, 0 of them new" in again


@pytest.mark.slow
def test_a_change_to_one_variant_runs_that_alone(mine: Project) -> None:
    runs = len(every_run(mine))
    study(mine)
    assert len(every_run(mine)) == runs  # nothing was trained
    conf = mine.root / "conf/study/claims.yaml"
    conf.write_text(conf.read_text().replace("downsampling: blurred max }", "downsampling: blurred max, layers: 2 }"))
    before = mine.read("study/max/about.json")
    mine.compose("data=digits", "study=claims")
    assert stages_run(mine.dvc("repro", "study", "decide")) == ["study@blurred", "decide@claims"]
    assert mine.read("study/max/about.json") == before


@pytest.mark.slow
def test_dvc_alone_runs_it_and_makes_the_same_bytes(studied: Project, tmp_path: Path) -> None:
    project = tiny(tmp_path / "project")
    project.compose("data=digits", "study=claims")
    project.dvc("repro", "download", "study", "decide")
    for path in (
        "study/max/about.json",
        "study/blurred/0-zero.safetensors",
        "metrics/study.json",
        "reports/study/index.html",
    ):
        assert project.read(path) == studied.read(path)


@pytest.mark.slow
def test_trainings_that_were_done_wait_for_the_next_attempt(studied: Project, tmp_path: Path) -> None:
    project = tiny(tmp_path / "project")
    project.compose("data=digits", "study=claims")
    project.dvc("repro", "download")
    environment = {**project.environment, "DVC_ROOT": str(project.root)}
    command = [sys.executable, "src/study.py", "max"]
    running = subprocess.Popen(command, cwd=project.root, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not (parts := list(project.root.glob("checkpoints/study-*/0"))):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    for part in parts:  # a training of the first seed would replace them
        os.utime(part, (0, 0))
    if not (project.root / "study/max/about.json").exists():  # else it was faster than we
        assert {part.stat().st_mtime for part in parts} == {0}
        subprocess.run(command, cwd=project.root, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert project.read("study/max/about.json") == studied.read("study/max/about.json")
    assert not list(project.root.glob("checkpoints/study-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (["study.seeds=[0]"], "study: seeds are [0], but a verdict needs two at least"),
        (["study.baseline.components.head=round"], "variant max: head is 'round'"),
        (["study=none"], "leaves no study to run"),
        (["study.nothing=1"], "study.nothing=1"),
    ],
)
def test_a_study_that_can_not_be_ends_with_a_sentence(choices: list[str], words: str, mine: Project) -> None:
    before = mine.git("status", "--porcelain")
    done = mine.run(sys.executable, "scripts/run_study.py", "data=digits", *choices, check=False)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("error: "))
    assert words in line
    assert "Traceback" not in done.stdout
    assert mine.git("status", "--porcelain") == before


@pytest.mark.slow
def test_changes_to_the_parameters_are_not_lost(mine: Project) -> None:
    path = mine.root / "params.yaml"
    changed = path.read_text() + "# mine\n"
    path.write_text(changed)
    study(mine)
    assert path.read_text() == changed


@pytest.mark.slow
def test_an_unknown_variant_is_named(mine: Project) -> None:
    done = mine.run(sys.executable, "src/study.py", "max", check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("error: variant 'max' is not among those that params.yaml selects (none)")
    assert mine.run(sys.executable, "src/decide.py", check=False).stdout.startswith("error: params.yaml selects no var")


@pytest.mark.slow
def test_queue_of_two_runs_variants_side_by_side(tmp_path: Path) -> None:
    project = tiny(tmp_path / "project")
    for name, downsampling in (("one", "max"), ("two", "average")):
        (project.root / f"conf/study/{name}.yaml").write_text(
            f"defaults: [none, _self_]\nimages: 60\nshifts: 16\nradius: 5\n"
            f"variants:\n  {name}: {{ components: {{ downsampling: {downsampling} }} }}\n"
        )
    project.compose("data=digits", "model=mlp")
    project.dvc("repro")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "results")
    project.dvc("exp", "run", "--queue", "-S", "data=digits", "-S", "model=mlp", "-S", "study=one,two")
    project.dvc("queue", "start", "-j", "2")
    deadline = time.monotonic() + PATIENCE_S
    while len(references := project.git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/*").split()) < 2:
        assert time.monotonic() < deadline, project.dvc("queue", "status")
        time.sleep(1)
    locks = [YAML(typ="safe").load(project.git("show", f"{one}:dvc.lock"))["stages"] for one in references]
    assert {name for lock in locks for name in lock if name.startswith("study@")} == {"study@one", "study@two"}


@pytest.mark.slow
def test_the_whole_study_runs_on_the_digits(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    output = study(project, *FEW)
    assert "[33/33] decide claims" in output
    summary = json.loads(project.read("metrics/study.json"))
    assert len(summary["claims"]) == 14
    verdicts = {claim["claim"]: claim["verdict"] for claim in summary["claims"]}
    assert verdicts["polyphase"] == "supported"  # exact, however little it has learned
