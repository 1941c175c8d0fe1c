"""The pipeline as users run it: a real DVC repository, a real MLflow store, real digits."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from shiftlab import determinism
from tests.project import MODELS, ROOT, Project

PATIENCE_S = 900  # with what takes seconds, however slow the machine and busy its cores


def every_run(project: Project) -> list[Run]:
    """Every run in the project's store, the latest first."""
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


def runs(project: Project) -> list[Run]:
    """Those of one model each."""
    return [run for run in every_run(project) if "model" in run.data.params]


def locked(project: Project, stage: str) -> dict[str, Any]:
    """A stage in dvc.lock."""
    found: dict[str, Any] = YAML(typ="safe").load(project.read("dvc.lock"))["stages"][stage]
    return found


def stages_run(output: str) -> list[str]:
    """The names of the stages that DVC ran rather than skipped or restored."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_repro_leaves_every_result_in_its_place(done: Project) -> None:
    comparison = json.loads(done.read("metrics/comparison.json"))
    assert comparison["data"] == "digits"
    assert comparison["images"] == 359
    assert comparison["grid_images"] == 40
    assert [entry["model"] for entry in comparison["models"]] == MODELS
    threads = "any number" if determinism.has("avx2") else "1"
    assert [metadata["threads"] for metadata in comparison["made_on"].values()] == [threads] * len(MODELS)
    for model in MODELS:
        metadata = json.loads(done.read(f"reports/{model}/0/zero/about.json"))
        assert (metadata["data"], metadata["images"], metadata["grid_images"], metadata["radius"]) == (
            "digits",
            359,
            40,
            2,
        )
        assert done.read(f"plots/{model}-0/history.csv").startswith(b"epoch,train_loss")
        assert (done.root / f"reports/{model}/0/zero/confusion-right5.png").exists()
        assert done.read(f"plots/{model}/confusion/0-zero-clean.csv").count(b"\n") == 360
    assert b"digits" in done.read("reports/results.md")
    assert b"mnist" not in done.read("reports/results.md").lower()
    assert (done.root / "reports/accuracy.png").exists()
    assert (done.root / "reports/image-0.png").exists()
    assert b"digits" in done.read("reports/index.html")
    before, study, after = re.split('<h2 id="study">|<h2 id="zero">', done.read("reports/index.html").decode())
    assert "mnist" not in (before + after).lower().replace("mnist-c", "")
    assert "No study of scikit-learn" in study  # the committed one is of MNIST
    assert (done.root / "plots/pictures/zero-maps.png").exists()


def test_git_holds_no_data_and_no_weights(done: Project) -> None:
    tracked = done.git("ls-files", "data", "models", "predictions").split()
    assert tracked == ["data/README.md", "models/README.md"]
    assert done.git("status", "--porcelain") == ""


def test_second_repro_runs_nothing(done: Project) -> None:
    assert stages_run(done.dvc("repro")) == []


@pytest.mark.slow
def test_forced_repro_leaves_the_lock_as_it_was(done: Project) -> None:
    done.compose("data=digits", "model=resnet")  # of all the one with most ways to differ
    done.dvc("repro")
    done.git("add", "--all")
    done.git("commit", "--quiet", "--message", "results")
    before = done.read("dvc.lock")
    output = done.dvc("repro", "--force", "--no-run-cache")
    assert len(stages_run(output)) == 5
    assert done.read("dvc.lock") == before
    assert done.git("status", "--porcelain") == ""


def test_each_model_has_one_run_with_all_its_results(done: Project) -> None:
    by_model = {run.data.params["model"]: run for run in runs(done)}
    assert len(runs(done)) == len(MODELS)
    assert set(by_model) == set(MODELS)
    client = MlflowClient(f"sqlite:///{done.root / 'mlflow.db'}")
    for model, run in by_model.items():
        assert run.info.status == "FINISHED"
        assert run.data.params["data"] == "digits"
        assert run.data.tags["dvc.stage"] == f"train@{model}-0"
        assert len(run.data.tags["weights.md5"]) == 32
        assert run.inputs
        assert run.inputs.dataset_inputs[0].dataset.name == "digits"
        (entry,) = [one for one in json.loads(done.read("metrics/comparison.json"))["models"] if one["model"] == model]
        assert run.data.metrics["zero/clean"] == entry["metrics"]["clean"]["value"]
        assert [point.step for point in client.get_metric_history(run.info.run_id, "validation/loss")] == [1]
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"evaluation", "model"}


def test_comparison_has_a_run_with_the_report(done: Project) -> None:
    (run,) = [run for run in every_run(done) if "model" not in run.data.params]
    client = MlflowClient(f"sqlite:///{done.root / 'mlflow.db'}")
    assert run.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"index.html", "pictures"}
    assert f"/runs/{run.info.run_id}/artifacts/index.html" in run.data.tags["mlflow.note.content"]


@pytest.mark.slow
def test_prediction_in_another_boundary_leaves_the_first_alone(done: Project) -> None:
    before = locked(done, "evaluate@mlp")
    output = done.dvc(
        "exp", "run", "-S", "data=digits", "-S", "model=mlp", "-S", "evaluation.boundaries=[zero,circular]"
    )
    assert stages_run(output) == ["predict@mlp-0", "evaluate@mlp", "compare"]
    assert b"Boundary circular" in done.read("reports/index.html")
    clean = {
        one["boundary"]: one["metrics"]["clean"] for one in json.loads(done.read("metrics/comparison.json"))["models"]
    }
    assert clean["zero"] == clean["circular"]
    # Back to the first choice: what the other boundary left behind must not change what evaluate sees.
    done.compose("data=digits", "model=mlp")
    done.dvc("repro", "evaluate@mlp")
    assert locked(done, "evaluate@mlp") == before


@pytest.mark.slow
def test_experiment_on_one_model_is_that_model_alone_and_can_be_shared(done: Project, tmp_path: Path) -> None:
    done.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    done.git("commit", "--quiet", "--all", "--message", "remote")
    done.git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    done.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    output = done.dvc(
        "exp", "run", "--name", "one", "-S", "data=digits", "-S", "model=lenet", "-S", "models.lenet.lr=0.003"
    )
    assert stages_run(output) == ["train@lenet-0", "predict@lenet-0", "evaluate@lenet", "compare"]
    assert [entry["model"] for entry in json.loads(done.read("metrics/comparison.json"))["models"]] == ["lenet"]
    (run,) = [run for run in runs(done) if run.data.tags["dvc.experiment"] == "one"]
    assert run.data.params["lr"] == "0.003"
    assert "zero/clean" in run.data.metrics

    shown = done.run(sys.executable, "scripts/show.py", environment={"COLUMNS": "200"}).stdout
    metrics = ["best", "clean", "right5", "random5", "consistency"]
    assert shown.splitlines()[0].split() == ["Experiment", "Created", *metrics, "model", "models.lenet.lr"]

    done.dvc("exp", "push", "origin", "one")
    done.git("clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.dvc("exp", "pull", "origin", "one")
    assert "lenet seed 0, zero, on digits (experiment one)" in clone.run(sys.executable, "scripts/sync.py").stdout
    (run,) = [run for run in runs(clone) if run.data.tags["dvc.experiment"] == "one"]
    assert run.data.params["lr"] == "0.003"
    assert "zero/clean" in run.data.metrics


@pytest.mark.slow
def test_more_seeds_reuse_those_already_run(done: Project) -> None:
    output = done.dvc("exp", "run", "-S", "data=digits", "-S", "model=mlp", "-S", "seeds=[0,1]")
    assert stages_run(output) == ["train@mlp-1", "predict@mlp-1", "evaluate@mlp", "compare"]
    seeds = [entry["seed"] for entry in json.loads(done.read("metrics/comparison.json"))["models"]]
    assert seeds == [0, 1]
    # Back to the first choice: what the other seed left behind must not change what its stages see and make.
    before = YAML(typ="safe").load(done.git("show", "HEAD:dvc.lock"))["stages"]
    done.dvc("exp", "run", "-S", "data=digits")
    after = YAML(typ="safe").load(done.read("dvc.lock"))["stages"]
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_changing_the_pictures_trains_and_predicts_nothing(done: Project) -> None:
    done.compose("data=digits", "model=mlp")
    with (done.root / "src/shiftlab/reports/primitives.py").open("a") as plots:
        plots.write("\n# another look\n")
    assert stages_run(done.dvc("repro")) == ["evaluate@mlp", "compare"]
    assert len(runs(done)) == len(MODELS)  # the evaluation went to the runs there were


@pytest.mark.slow
def test_queue_of_two_beside_the_workspace_runs_its_own_code_and_loses_nothing(done: Project) -> None:
    done.lose_store()  # so that they create it at once, too
    queued = ("-S", "data=digits", "-S", "threads=1", "-S", "model=mlp", "-S", "models.mlp.lr=0.002,0.003")
    done.dvc("exp", "run", "--queue", "--name", "later", *queued)
    (done.root / "src/shiftlab/models/architectures/mlp.py").write_text("raise SystemExit('the workspace moved on')\n")
    done.dvc("queue", "start", "--jobs", "2")
    done.dvc("exp", "run", "--name", "now", "-S", "data=digits", "-S", "model=lenet", "-S", "models.lenet.lr=0.002")
    deadline = time.monotonic() + PATIENCE_S
    while (status := done.dvc("queue", "status")).count("Success") < 2:
        assert "Failed" not in status, done.dvc("queue", "logs", "later-1") + done.dvc("queue", "logs", "later-2")
        assert time.monotonic() < deadline, status
        time.sleep(1)
    found = {run.data.tags["dvc.experiment"]: run for run in runs(done)}
    assert set(found) == {"later-1", "later-2", "now"}
    assert [found[name].data.params["lr"] for name in sorted(found)] == ["0.002", "0.003", "0.002"]
    assert {run.data.params["threads"] for run in found.values()} == {"1"}
    assert all(run.data.tags["processor"] and run.data.tags["instructions"] for run in found.values())
    assert [found[name].data.tags.get("sweep") for name in sorted(found)][:2] == ["later", "later"]
    assert all(run.info.status == "FINISHED" and "zero/clean" in run.data.metrics for run in found.values())
    committed = len(YAML(typ="safe").load(done.git("show", "HEAD:params.yaml"))["models"]) + 1  # with the comparison
    of_experiments = 2 * 3
    said = done.run(sys.executable, "scripts/sync.py").stdout
    assert f"MLflow has {committed + of_experiments} results" in said
    done.dvc("queue", "stop", check=False)


@pytest.mark.slow
def test_training_that_was_killed_goes_on_and_ends_with_the_same_bytes(project: Project, tmp_path: Path) -> None:
    project.compose("data=digits", "model=lenet", "models.lenet.epochs=30")
    project.dvc("repro", "download")
    unbroken = project.copy(tmp_path / "unbroken")
    unbroken.dvc("repro", "train")

    command = [sys.executable, "-m", "dvc", "repro", "train"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=project.root, env=project.environment, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_S
        while not list(project.root.glob("checkpoints/*.pt")):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (project.root / "models/lenet-0.safetensors").exists()

    assert "going on where an earlier attempt ended" in project.dvc("repro", "train")
    for file in ("models/lenet-0.safetensors", "plots/lenet-0/history.csv", "dvc.lock"):
        assert project.read(file) == unbroken.read(file)
    assert [run.info.status for run in runs(project)] == ["FINISHED", "KILLED"]
    assert not list(project.root.glob("checkpoints/*"))


def test_dvc_finds_the_environment_that_is_not_activated(project: Project) -> None:
    (project.root / ".venv").symlink_to(sys.prefix)
    project.run(".venv/bin/dvc", "repro", "download", environment={"PATH": "/usr/bin:/bin"})
    assert (project.root / "data/digits/dataset.safetensors").exists()


def test_python_without_the_requirements_ends_with_a_sentence(project: Project) -> None:
    done = project.run(sys.executable, "-S", "src/download.py", check=False)
    assert done.returncode == 1
    assert "make setup" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("lr: 0.001", "lr: -0.001", "models.mlp.lr"),
        ("epochs: 1", "epochs: 0", "models.mlp.epochs"),
        ("radius: 2", "radius: 28", "evaluation.radius"),
        ("source: digits", "source: letters", "data.source"),
        ("- zero", "- torus", "evaluation.boundaries"),
        ("images: 40", "images: 0", "evaluation.images"),
        ("recipe: notebook", "recipe: cookbook", "recipe"),
        ("device: auto", "device: auto\nbatch: 64", "batch"),
    ],
)
def test_wrong_parameter_ends_a_stage_with_one_sentence(project: Project, old: str, new: str, named: str) -> None:
    parameters = project.root / "params.yaml"
    text = parameters.read_text()
    assert old in text
    parameters.write_text(text.replace(old, new, 1))
    done = project.run(sys.executable, "src/download.py", check=False)
    assert done.returncode == 1
    assert named in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_unknown_choice_lists_the_options(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "model=transformer", check=False)
    assert all(name in output for name in ("transformer", "lenet", "mlp", "resnet"))


def test_tracking_server_out_of_reach_stops_the_stage_before_training(done: Project) -> None:
    stage = [sys.executable, "src/train.py", "mlp", "0"]
    before = done.read("models/mlp-0.safetensors")
    ended = done.run(*stage, check=False, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})
    assert ended.returncode == 1
    assert "http://127.0.0.1:1" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert done.read("models/mlp-0.safetensors") == before


def test_metrics_and_plots_commands_show_the_results(done: Project) -> None:
    assert "metrics/summary.json" in done.dvc("metrics", "show")
    rows = list(csv.DictReader(done.dvc("exp", "show", "--csv").splitlines()))
    assert {"best", "clean", "right5", "random5", "consistency"} <= set(rows[0])
    assert rows[0]["best"] in MODELS
    page = done.root / "dvc_plots/index.html"
    done.dvc("plots", "show")
    assert all(
        name in page.read_text() for name in ("mlp-0/history.csv", "accuracy/zero-x.csv", "confusion/0-zero-right5.csv")
    )
    assert "compare" in done.dvc("dag")


OFFLINE = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "SHIFTLAB_MIRROR": ""}


MNIST_IS_HERE = pytest.mark.skipif(
    not (ROOT / "conf/data/mnist.yaml").exists(),
    reason="needs MNIST, which is not among the data of this tree",
)


class TestMakeRun:
    """scripts/run.py, which `make run` and `make demo` call; tests/test_make.py has the whole of it."""

    def test_keeps_the_users_own_parameters(self, project: Project) -> None:
        parameters = project.root / "params.yaml"
        parameters.write_text(parameters.read_text().replace("lr: 0.001", "lr: 0.1", 1))
        before = parameters.read_text()
        ended = project.run(sys.executable, "scripts/run.py", check=False, environment=OFFLINE)
        assert ended.returncode == 1
        assert "error: params.yaml is not the committed one, but has changes of yours" in ended.stdout.splitlines()[-1]
        assert parameters.read_text() == before

    @MNIST_IS_HERE
    def test_half_a_copy_of_mnist_ends_with_a_sentence(self, project: Project, tmp_path: Path) -> None:
        """Not with the digits: somebody meant to have MNIST."""
        (tmp_path / "copy").mkdir()
        environment = {**OFFLINE, "SHIFTLAB_MIRROR": str(tmp_path / "copy")}
        ended = project.run(sys.executable, "scripts/run.py", check=False, environment=environment)
        assert ended.returncode == 1
        (sentence,) = ended.stdout.splitlines()
        assert sentence.startswith("error: train-images-idx3-ubyte.gz of MNIST could not be downloaded (")
        assert f"{tmp_path / 'copy'}: no such file" in sentence

    def test_second_one_beside_it_is_refused(self, project: Project) -> None:
        lock = project.root / ".dvc/tmp/pipeline.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        before = project.read("params.yaml")
        for arguments in ([], ["--everything"]):
            with FileLock(lock):
                ended = project.run(sys.executable, "scripts/run.py", *arguments, check=False, environment=OFFLINE)
            assert ended.returncode == 1
            (sentence,) = ended.stdout.splitlines()
            assert "is at work in this folder already" in sentence
        assert project.read("params.yaml") == before

    def test_demo_leaves_the_workspace_as_it_is(self, done: Project) -> None:
        script = done.root / "scripts/run.py"
        text = script.read_text()
        lighter = re.sub(r"^DEMO = .*", 'DEMO = ["data=digits"]', text, flags=re.MULTILINE)  # what has run already
        assert lighter != text
        script.write_text(lighter)
        done.compose("data=digits", "model=mlp")
        head = done.git("rev-parse", "HEAD").strip()
        earlier = done.git("commit-tree", "HEAD^{tree}", "-p", head, "-m", "an earlier demo").strip()
        done.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/demo", earlier)  # which this one replaces
        # As where git knows no name.
        nobody = {name: "" for name in done.environment if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))}
        output = done.run(sys.executable, "scripts/run.py", "--demo", environment={**OFFLINE, **nobody}).stdout
        assert done.git("for-each-ref", "--format=%(authorname)", "refs/exps/*/*/demo") == "shiftlab\n"
        assert "LeNet-5" in output
        assert "These are scikit-learn's digits, not MNIST." in output
        assert done.git("status", "--porcelain") == ""
