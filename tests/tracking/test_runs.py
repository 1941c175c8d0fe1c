import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from shiftlab.errors import UserError
from shiftlab.tracking import runs, store
from shiftlab.tracking.runs import Identity
from shiftlab.tracking.store import Store, connect
from tests.helpers import DIGITS, GREY, run_python

MLP = Identity("digits", "0123456789abcdef" * 2, "mlp", 3, GREY, DIGITS)
PARAMS = {"recipe": "notebook", "lr": 0.001}


pytestmark = pytest.mark.usefixtures("as_a_stage")


@pytest.fixture
def digits(as_a_stage: None) -> Store:  # noqa: ARG001
    return connect("digits")


def stored(run: runs.Run) -> Run:
    """The run as the store has it."""
    found: Run = run.client.get_run(run.id)
    return found


def trained(digits: Store, weights: str) -> runs.Run:
    with runs.training(digits, MLP, PARAMS, {}) as run:
        run.log_tags({"weights.md5": weights})
        run.client.log_text(run.id, weights, "model/weights")
    return run


def git(*arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_store_lies_in_the_repositorys_root(digits: Store, root: Path, tmp_path: Path) -> None:
    run = trained(digits, "in the root")
    assert (root / "mlflow.db").is_file()
    assert stored(run).info.artifact_uri.startswith((root / "mlartifacts" / "shiftlab-digits").as_uri())
    assert not list(tmp_path.iterdir())


def test_run_says_what_it_is_about(digits: Store) -> None:
    run = stored(trained(digits, "about"))
    assert run.data.params == {"data": "digits", "model": "mlp", "seed": "3", "recipe": "notebook", "lr": "0.001"}
    expected = {
        "data.md5": "0123456789abcdef" * 2,
        "dvc.experiment": "workspace",
        "dvc.stage": "train@mlp-3",
        "weights.md5": "about",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.info.run_name == "mlp seed 3"
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert run.inputs is not None
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == "digits"
    assert given.dataset.digest == MLP.data_md5
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_metrics_keep_their_steps(digits: Store) -> None:
    with runs.training(digits, MLP, PARAMS, {}) as run:
        for epoch in (1, 2):
            run.log_metrics({"train/loss": 1 / epoch, "validation/accuracy": 0.4 * epoch}, step=epoch)
        run.log_metrics({"clean/accuracy": 0.9})
    history = run.client.get_metric_history(run.id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert stored(run).data.metrics == {"train/loss": 0.5, "validation/accuracy": 0.8, "clean/accuracy": 0.9}


def test_curve_has_a_point_for_each_step_to_either_side(digits: Store) -> None:
    points = [(-2, 0.1), (-1, 0.5), (0, 1.0), (1, 0.6), (2, 0.2)]
    with runs.training(digits, MLP, PARAMS, {}) as run:
        run.log_curve("shift/accuracy along x", points)
    history = run.client.get_metric_history(run.id, "shift/accuracy along x")
    assert sorted((metric.step, metric.value) for metric in history) == points


def test_files_and_folders_become_artifacts(digits: Store, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "accuracy.csv").write_text("1\n")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    with runs.training(digits, MLP, PARAMS, {}) as run:
        run.log_path(tmp_path / "report", "evaluation")
        run.log_path(tmp_path / "weights.safetensors", "weights")
    paths = {
        artifact.path for folder in ("evaluation", "weights") for artifact in run.client.list_artifacts(run.id, folder)
    }
    assert paths == {"evaluation/accuracy.csv", "weights/weights.safetensors"}
    copy = run.client.download_artifacts(run.id, "weights/weights.safetensors", str(tmp_path))
    assert Path(copy).read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UserError("the loss is nan"), "FAILED", "UserError: the loss is nan"),
        (ValueError("x" * 10_000), "FAILED", "ValueError: xxx"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (SystemExit(1), "FAILED", "SystemExit: 1"),
    ],
    ids=["user error", "bug", "interrupt", "exit"],
)
def test_run_that_breaks_off_says_why(digits: Store, error: BaseException, status: str, reason: str) -> None:
    with pytest.raises(type(error)) as caught, runs.training(digits, MLP, PARAMS, {}) as run:
        raise error
    assert caught.value is error
    assert stored(run).info.status == status
    assert stored(run).info.end_time is not None
    assert stored(run).data.tags["ended"].startswith(reason)


def test_run_killed_from_outside_is_ended_by_the_next_of_its_training(digits: Store) -> None:
    def left_running(key: str) -> runs.Run:
        block = runs.training(digits, MLP, PARAMS, {"training.key": key})
        run = block.__enter__()
        abandoned.append(block)
        return run

    abandoned: list[object] = []
    killed, other = left_running("one"), left_running("another")
    with runs.training(digits, MLP, PARAMS, {"training.key": "one"}) as finished:
        pass
    runs.end_interrupted(digits, "one")
    assert stored(killed).info.status == "KILLED"
    assert stored(killed).data.tags["ended"]
    assert stored(other).info.status == "RUNNING"
    assert stored(finished).info.status == "FINISHED"
    assert "ended" not in stored(finished).data.tags


def test_run_whose_process_is_gone_is_ended(digits: Store) -> None:
    with runs.training(digits, MLP, PARAMS, {}) as alive:
        code = (
            "import os, signal; from shiftlab.tracking.runs import Identity, training\n"
            "from shiftlab.tracking.store import connect\n"
            "with training(connect('digits'), Identity('digits', 'd', 'mlp', 0, (1, 28, 28), ()), {}, {}) as run:\n"
            "    print(run.id, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = run_python("-c", code, cwd=Path.cwd(), DVC_ROOT=os.environ["DVC_ROOT"])
        killed = runs.Run(digits, done.stdout.strip())
        assert stored(killed).info.status == "RUNNING"
        runs.end_interrupted(digits)
        assert stored(killed).info.status == "KILLED"
        assert stored(killed).data.tags["ended"]
        assert stored(alive).info.status == "RUNNING"


@pytest.fixture
def broken(digits: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Its server goes away after the start."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    digits.connection = MlflowClient("http://127.0.0.1:1")
    return digits


def test_store_that_fails_later_ends_the_stage_with_a_sentence(broken: Store) -> None:
    with pytest.raises(UserError, match="tracking=optional") as caught:
        runs.Run(broken, "some").log_metrics({"loss": 1.0})
    assert "\n" not in str(caught.value)


def test_optional_store_that_fails_later_is_done_without(broken: Store, capsys: pytest.CaptureFixture[str]) -> None:
    broken.choice = "optional"
    with runs.training(broken, MLP, PARAMS, {}) as run:
        run.log_metrics({"loss": 1.0})
        run.log_path(Path("nowhere"))
    assert runs.find(broken, "weights") is None
    assert runs.results(broken) == set()
    (warning,) = capsys.readouterr().err.splitlines()
    assert "make sync" in warning


@pytest.mark.slow
def test_database_that_somebody_holds_is_a_user_error(root: Path, digits: Store) -> None:  # MLflow waits 20 s
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="locked"):
            runs.find(digits, "any", "workspace")


def found(digits: Store, weights: str) -> str:
    run = runs.find(digits, weights)
    assert run
    return run.id


def test_evaluation_finds_the_run_that_trained_the_weights(digits: Store) -> None:
    run = trained(digits, "found")
    trained(digits, "others")
    assert found(digits, "found") == run.id
    assert found(connect("digits"), "found") == run.id
    assert runs.find(digits, "unknown") is None


def test_latest_of_several_runs_is_found(digits: Store) -> None:
    trained(digits, "twice")
    time.sleep(0.01)  # MLflow counts milliseconds
    second = trained(digits, "twice")
    assert found(digits, "twice") == second.id


def test_restored_run_says_so(digits: Store) -> None:
    made = runs.restore(digits, MLP, PARAMS, {"weights.md5": "restored", "dvc.experiment": "an earlier one"})
    made.client.log_text(made.id, "weights", "model/weights")
    run = stored(made)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "mlp seed 3 an earlier one"
    assert run.data.tags["restored"] == "true"
    assert run.data.params["lr"] == "0.001"
    assert runs.find(digits, "restored") is None
    assert runs.find(digits, "restored", "an earlier one") == made


def test_experiments_name_may_hold_quotation_marks(digits: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", """it's "quoted\"""")
    run = trained(digits, "quoted")
    assert found(digits, "quoted") == run.id


def test_user_without_a_name_is_a_number(digits: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert stored(trained(digits, "nameless")).data.tags["mlflow.user"] == "4000000"


def experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("shiftlab-digits")
    assert found is not None
    identifier: str = found.experiment_id
    return identifier


def test_folders_name_may_mean_something_in_an_address(tmp_path: Path) -> None:
    folder = "what? 50%20off a#b"
    (tmp_path / folder / ".dvc" / "tmp").mkdir(parents=True)
    code = (
        "from pathlib import Path; from shiftlab.tracking.runs import Identity, training\n"
        "from shiftlab.tracking.store import connect\n"
        "Path('picture.png').write_bytes(b'picture')\n"
        "with training(connect('digits'), Identity('digits', 'd', 'mlp', 0, (1, 28, 28), ()), {}, {}) as run:\n"
        "    run.log_path(Path('picture.png'))\n"
        "print(*[artifact.path for artifact in run.client.list_artifacts(run.id)])\n"
    )
    for cwd in (tmp_path / folder, tmp_path / folder / ".dvc" / "tmp"):
        done = run_python("-c", code, cwd=cwd, DVC_ROOT=str(tmp_path / folder))
        assert done.stdout == "picture.png\n", done.stderr
    made = {path.name for path in (tmp_path / folder).iterdir()}
    assert made == {".dvc", "picture.png", "mlflow.db", "mlflow.db.lock", "mlartifacts"}
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_each_dvc_experiment_has_a_run_of_its_own(digits: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    in_workspace = trained(digits, "shared")
    monkeypatch.setenv("DVC_EXP_NAME", "tidy-moth")
    assert runs.find(digits, "shared") is None
    in_experiment = trained(digits, "shared")
    assert in_experiment.id != in_workspace.id
    assert stored(in_experiment).data.tags["dvc.experiment"] == "tidy-moth"
    assert stored(in_experiment).info.run_name == "mlp seed 3 tidy-moth"
    monkeypatch.delenv("DVC_EXP_NAME")
    assert found(digits, "shared") == in_workspace.id


def test_each_data_set_has_an_mlflow_experiment_of_its_own(digits: Store) -> None:
    on_digits = trained(digits, "both")
    mnist = replace(MLP, data="mnist", data_md5="e" * 32)
    on_mnist = runs.restore(connect("mnist"), mnist, PARAMS, {"weights.md5": "both"})
    assert on_mnist.id != on_digits.id
    names = {run.client.get_experiment(stored(run).info.experiment_id).name: run.id for run in (on_digits, on_mnist)}
    assert names == {"shiftlab-digits": on_digits.id, "shiftlab-mnist": on_mnist.id}


def test_user_may_name_store_and_experiment(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect("digits")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "my own")
    connect("digits")
    assert not list(tmp_path.iterdir())
    assert MlflowClient(f"sqlite:///{root}/mlflow.db").get_experiment_by_name("my own") is not None


def test_run_leads_back_to_the_commit(digits: Store, tmp_path: Path) -> None:
    git("init", "--quiet")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("first\n")
    (tmp_path / "metrics.json").write_text("{}\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")

    (tmp_path / "metrics.json").write_text("an output that changed\n")
    tags = stored(trained(digits, "clean tree")).data.tags
    assert tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert tags["git.dirty"] == "false"

    (tmp_path / "src" / "train.py").write_text("second\n")
    assert stored(trained(digits, "dirty tree")).data.tags["git.dirty"] == "true"


def test_experiments_run_names_the_commit_it_started_from(digits: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "of the experiment")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "b" * 40)
    assert stored(trained(digits, "baseline")).data.tags["mlflow.source.git.commit"] == "b" * 40


def test_run_outside_git_is_recorded_without_a_commit(digits: Store) -> None:
    assert "mlflow.source.git.commit" not in stored(trained(digits, "no git")).data.tags


def test_processes_that_start_together_share_a_fresh_store(tmp_path: Path) -> None:
    code = (
        "import os, sys; from shiftlab.tracking.store import connect\n"
        "children = []\n"
        "for _ in range(4):\n"
        "    if not (child := os.fork()):\n"
        "        connect('digits'); os._exit(0)\n"
        "    children.append(child)\n"
        "sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))\n"
    )
    done = run_python("-c", code, cwd=tmp_path, DVC_ROOT=str(tmp_path))
    assert done.returncode == 0, done.stderr
    experiments = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    assert sorted(experiment.name for experiment in experiments) == ["Default", "shiftlab-digits"]


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        connect("digits")
    message = str(caught.value)
    assert "\n" not in message
    assert "MLFLOW_TRACKING_URI" in message or "delete the file" in message
    return message


def test_server_that_is_not_there_is_a_user_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    begun = time.monotonic()
    assert "http://127.0.0.1:1" in refusal()
    assert time.monotonic() - begun < 30  # MLflow's own patience is minutes


@pytest.mark.parametrize("uri", ["http://[::1", "postgresql://127.0.0.1:1/mlflow", "sqlite:////dev/null/m.db", "?"])
def test_address_that_is_of_no_use_is_a_user_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert uri in refusal()


def test_server_that_never_answers_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "timed out" in refusal()


def test_file_that_is_no_database_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("not a database\n" * 100)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert str(tmp_path / "mlflow.db") in refusal()


def test_patience_is_for_the_start_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that pauses for a minute in the middle of a night's training must not end it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    connect("digits")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_store_whose_making_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a schema can neither be used nor gone on with."""
    folder = tmp_path / "interrupted"  # of its own, since MLflow keeps a store open by its relative address
    folder.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(folder))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Path, "replace", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            connect("digits")
    assert [path.name for path in folder.iterdir()] == ["mlflow.db.lock"]
    store = connect("digits")
    assert store.client.get_experiment(store.experiment).name == "shiftlab-digits"
    assert (folder / "mlflow.db").exists()
