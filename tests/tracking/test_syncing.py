"""`make sync`, the registry and its server, on a project whose pipeline has run."""

import json
import sys
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
import torch
from mlflow import MlflowClient, pyfunc
from mlflow.entities import Run
from PIL import Image

from shiftlab.models import weights
from shiftlab.tracking import syncing
from shiftlab.tracking.history import MissingError, Revision
from tests.helpers import GREY
from tests.project import MODELS, Project
from tests.servers import free_port, running

NOT_A_PICTURE = "the picture is not an image: save it as PNG or JPEG, or take it away"
SYNC = [sys.executable, "scripts/sync.py"]


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")


def runs(project: Project) -> list[Run]:
    store = client(project)
    return list(store.search_runs([one.experiment_id for one in store.search_experiments()]))


def images(count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def logits(project: Project, raw: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> list[list[float]]:
    model = weights.load("lenet", project.root / "models/lenet-0.safetensors", GREY, 10)
    with torch.inference_mode():
        found: list[list[float]] = model(torch.from_numpy(raw).unsqueeze(1)).tolist()
    return found


def test_what_ran_is_there_already(done: Project) -> None:
    before = len(runs(done))
    assert "MLflow has 3 results, 0 of them new" in done.run(*SYNC).stdout
    assert len(runs(done)) == before


def test_stages_of_earlier_code_are_left_out() -> None:
    """Committed locks have a stage for each model, seed and boundary mode; one may lack the training."""
    training = {"deps": [{"path": "data/mnist/dataset.safetensors", "md5": "0"}]}
    stages = {"train@mlp-0": training, "evaluate@mlp-0-zero": {}}
    (result,) = syncing.results(Revision("workspace", "1" * 40, "1" * 40, stages))
    assert result.data == "mnist"
    with pytest.raises(MissingError, match="made by earlier code"):
        result.log(None, Path())  # type: ignore[arg-type]
    del stages["train@mlp-0"]
    assert not list(syncing.results(Revision("workspace", "1" * 40, "1" * 40, stages)))


@pytest.mark.slow
def test_lost_store_is_rebuilt_from_git_and_dvc(reproduced: Project, tmp_path: Path) -> None:
    before = {run.info.run_name: run for run in runs(reproduced)}
    lost = reproduced.copy(tmp_path / "project")
    lost.lose_store()
    assert "MLflow has 3 results, 3 of them new" in lost.run(*SYNC).stdout
    assert "MLflow has 3 results, 0 of them new" in lost.run(*SYNC).stdout
    after = {run.info.run_name: run for run in runs(lost)}
    assert set(after) == set(before)
    timed = {"train/seconds", *(name for name in before["mlp seed 0"].data.metrics if name.startswith("cost/milli"))}
    for name, run in after.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["restored"] == "true"
        assert run.data.tags["mlflow.source.git.commit"] == lost.git("rev-parse", "HEAD").strip()
        # What the machine did is told of runs alone that last longer than MLflow's interval, and so of slow ones.
        measured = before[name].data.metrics.items()
        metrics = {key: value for key, value in measured if key not in timed and not key.startswith("system/")}
        assert run.data.metrics == metrics
        of_run = [{file.path for file in client(lost).list_artifacts(run.info.run_id)}]
        assert of_run == [{"index.html", "pictures"} if name == "comparison" else {"evaluation", "model"}]
        assert run.data.params.keys() == before[name].data.params.keys()


@pytest.mark.slow
def test_clone_has_what_it_pulled(done: Project, tmp_path: Path) -> None:
    done.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    done.git("commit", "--quiet", "--all", "--message", "remote")
    done.dvc("push")
    done.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    output = clone.run(*SYNC).stdout
    assert "MLflow has 0 results" in output
    assert "dvc fetch --all-commits" in output
    clone.dvc("pull")
    assert "Data and pipelines are up to date" in clone.dvc("status")
    assert "MLflow has 3 results, 3 of them new" in clone.run(*SYNC).stdout


@pytest.mark.slow
def test_result_that_went_unrecorded_is_logged_later(done: Project) -> None:
    done.compose("data=digits", "tracking=optional", "model=mlp", "evaluation.boundaries=[circular]")
    elsewhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    output = done.run(sys.executable, "-m", "dvc", "repro", environment=elsewhere).stdout
    assert output.count("warning: MLflow's tracking store http://127.0.0.1:1 can't be used") == 2  # once a stage
    (run,) = [run for run in runs(done) if run.data.params.get("model") == "mlp"]
    assert "circular/clean" not in run.data.metrics
    assert "2 of them new" in done.run(*SYNC).stdout
    (run,) = [run for run in runs(done) if run.data.params.get("model") == "mlp"]
    assert run.data.metrics["circular/clean"] == run.data.metrics["zero/clean"]


def test_registry_holds_each_model_and_serves_it(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store = client(done)
    for name in MODELS:
        version = store.get_model_version_by_alias(f"shiftlab-{name}", "champion")
        assert version.description
        assert version.run_id
        assert version.source
        assert version.tags["data"] == "digits"
        assert len(version.tags["data.md5"]) == 32
        assert f"# {name}, seed 0, trained on digits" in version.description
        assert "| right5 |" in version.description
        assert version.description == store.get_run(version.run_id).data.tags["mlflow.note.content"]
        artifacts = Path(version.source.removeprefix("file://"))
        assert not [path for path in artifacts.rglob("*") if path.suffix in (".pkl", ".pickle", ".pth", ".pt")]

    port = free_port()
    serve = [sys.executable, "scripts/serve.py", "lenet", "--port", str(port)]
    with running(serve, done.root, done.environment, f"http://127.0.0.1:{port}/ping"):

        def post(body: bytes, kind: str = "application/json") -> tuple[int, Any]:
            address = f"http://127.0.0.1:{port}/invocations"
            request = urllib.request.Request(address, body, {"Content-Type": kind})
            try:
                with urllib.request.urlopen(request, timeout=600) as answer:
                    return answer.status, json.loads(answer.read())["predictions"]
            except HTTPError as refused:
                return refused.code, json.loads(refused.read())["message"]

        for count in (1, 7, 64):
            for raw in (images(count), images(count).astype(float)):
                status, found = post(json.dumps({"inputs": raw.tolist()}).encode())
                assert status == 200
                np.testing.assert_allclose(found, logits(done, images(count)), atol=1e-5)
        for form in ("PNG", "JPEG"):
            picture = BytesIO()
            Image.fromarray(images(1)[0]).save(picture, form)
            seen = np.asarray(Image.open(picture))[np.newaxis]
            status, found = post(picture.getvalue(), f"image/{form.lower()}")
            assert status == 200
            np.testing.assert_allclose(found, logits(done, seen), atol=1e-5)
        for content, reason in (
            ({"inputs": (images(2) / 255).tolist()}, "scaled to 0..1"),
            ({"inputs": [[[300]]]}, "the shape is (1, 1, 1)"),
            ({"pixels": []}, "not JSON of the form"),
        ):
            status, message = post(json.dumps(content).encode())
            assert status == 400
            assert reason in message
            assert "whole numbers from 0, black, to 255" in message
            assert "\n" not in message
            assert len(message) < 300
        assert post(b"not a picture", "image/png") == (400, NOT_A_PICTURE)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{done.root / 'mlflow.db'}")
    loaded = pyfunc.load_model("models:/shiftlab-lenet@champion")
    for count in (1, 7, 64):
        np.testing.assert_allclose(
            loaded.predict(images(count).astype(np.float32)), logits(done, images(count)), atol=1e-5
        )


def test_model_without_a_champion_is_not_served(project: Project) -> None:
    ended = project.run(sys.executable, "scripts/serve.py", "lenet", check=False)
    assert ended.returncode == 1
    (sentence,) = ended.stdout.splitlines()
    assert "shiftlab-lenet" in sentence
    assert "champion" in sentence
    assert "make sync" in sentence
