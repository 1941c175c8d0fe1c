"""What `make sync` restores, from a repository whose git and cache are made by hand: no pipeline has to run."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from mlflow import MlflowClient

from shiftlab.metrics import evaluation
from shiftlab.reports import tables
from shiftlab.tracking import history, syncing
from tests.helpers import ABOUT, some_predictions

pytestmark = pytest.mark.usefixtures("as_a_stage")
HISTORY = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy\n1,2.0,0.4,1.5,0.5\n"
SETTINGS = {
    "recipe": "notebook",
    "augmentation": {"kind": "none", "pixels": 0},
    "determinism": "portable",
    "device": "cpu",
    "threads": 1,
    "models.mlp": {"lr": 0.001, "batch_size": 64, "epochs": 1},
}


def git(*arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def in_cache(content: bytes, suffix: str = "") -> str:
    """Put content into DVC's cache as DVC does; its digest."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    path = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


def folder_in_cache(files: Mapping[str, bytes]) -> str:
    """Put a folder into DVC's cache as DVC does; its digest."""
    listing = [{"md5": in_cache(content), "relpath": path} for path, content in sorted(files.items())]
    return in_cache(json.dumps(listing).encode(), ".dir")


def lock(weights: str, report: str, content: bytes = b"predictions") -> dict[str, Any]:
    """A dvc.lock of a model that was trained, has predicted, and was evaluated."""
    model = "models/mlp-0.safetensors"
    return {
        "train@mlp-0": {
            "deps": [{"path": "data/digits/dataset.safetensors", "md5": "d" * 32}],
            "params": {"params.yaml": SETTINGS},
            "outs": [{"path": model, "md5": weights}],
        },
        "predict@mlp-0": {
            "deps": [{"path": model, "md5": weights}],
            "outs": [{"path": "predictions/mlp/0", "md5": folder_in_cache({"zero.safetensors": content})}],
        },
        "evaluate@mlp": {
            "deps": [{"path": "predictions/mlp", "md5": folder_in_cache({"0/zero.safetensors": content})}],
            "params": {"params.yaml": {"evaluation": {"boundaries": ["zero"]}, "seeds": [0]}},
            "outs": [{"path": "reports/mlp", "md5": report}],
        },
    }


def commit(stages: Mapping[str, Any]) -> str:
    """Commit a dvc.lock; the commit's name."""
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
    git("add", "--all", "--force", "dvc.lock", "dvc.yaml", "plots")
    git("commit", "--quiet", "--message", "results")
    return git("rev-parse", "HEAD")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a model's report in DVC's cache, in a repository that has nothing else."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git("init", "--quiet")
    Repo.init().close()
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("plots/mlp-0").mkdir(parents=True)
    Path("plots/mlp-0/history.csv").write_text(HISTORY)
    metadata = replace(ABOUT, weights_md5=hashlib.md5(b"weights", usedforsecurity=False).hexdigest())
    metrics = evaluation.evaluate(some_predictions(metadata), radius=1, phase=1)
    tables.write_report(metrics, "mlp", 0, Path("report/0/zero"))
    files = {str(path.relative_to("report")): path.read_bytes() for path in Path("report").rglob("*") if path.is_file()}
    return folder_in_cache(files)


def runs(client: MlflowClient) -> list[Any]:
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))


def test_results_of_commits_and_experiments_are_logged_once(
    report: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = commit(lock(in_cache(b"weights"), report))
    tip = commit(lock(in_cache(b"other weights"), report))
    git("reset", "--quiet", "--hard", base)
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/calm-moth", tip)
    syncing.sync()
    # The experiment's predictions are those of the commit, and so its result.
    assert "MLflow has 1 results, 1 of them new" in capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    (run,) = runs(client)
    assert run.info.run_name == "mlp seed 0"
    assert run.info.status == "FINISHED"
    assert run.data.tags["restored"] == "true"
    assert run.data.tags["mlflow.source.git.commit"] == base
    assert run.data.tags["weights.md5"] == hashlib.md5(b"weights", usedforsecurity=False).hexdigest()
    assert run.data.metrics["zero/right5"] == 0.75
    assert run.data.params["lr"] == "0.001"
    syncing.sync()
    assert "MLflow has 1 results, 0 of them new" in capsys.readouterr().out
    assert len(runs(client)) == 1


def test_what_the_cache_lacks_is_left_out_until_it_is_there(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    commit(lock("f" * 32, report, b"whose weights are lost"))
    syncing.sync()
    output = capsys.readouterr().out
    assert "MLflow has 0 results" in output
    assert "left out: mlp seed 0, zero, on digits (commit " in output
    assert "dvc fetch --all-commits" in output


def test_checkout_is_what_was_put_in(report: str, tmp_path: Path) -> None:
    folder = history.checkout(report, tmp_path / "new" / "folder")
    assert {path.name for path in folder.iterdir()} == {"0"}
    assert (folder / "0/zero/metrics.csv").read_bytes() == Path("report/0/zero/metrics.csv").read_bytes()
    file = history.checkout(in_cache(b"first"), tmp_path / "new" / "file")
    assert history.checkout(in_cache(b"second"), file).read_bytes() == b"second"
    shutil.rmtree(".dvc/cache")
    with pytest.raises(history.MissingError, match="not in DVC's cache"):
        history.checkout(report, tmp_path / "newer")


def test_folder_has_the_digest_that_dvc_gives_it(tmp_path: Path) -> None:
    files = {"zero.safetensors": b"a", "circular.safetensors": b"b"}
    (tmp_path / "folder").mkdir()
    for path, content in files.items():
        (tmp_path / "folder" / path).write_bytes(content)
    assert history.folder_digest(tmp_path / "folder") == folder_in_cache(files)
