from pathlib import Path

import pytest
from mlflow import MlflowClient

from shiftlab import files
from shiftlab.metrics import evaluation
from shiftlab.reports import tables
from shiftlab.tracking import recording, runs
from shiftlab.tracking.runs import Identity
from shiftlab.tracking.store import connect
from tests.helpers import DIGITS, GREY, some_predictions

HISTORY = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy\n1,2.0,0.4,1.5,0.5\n2,1.0,0.8,0.9,{}\n"
SETTINGS = {"recipe": "notebook", "lr": 0.001, "batch_size": 64, "epochs": 2}


pytestmark = pytest.mark.usefixtures("as_a_stage")


def train(data: str, content: str, accuracy: float) -> runs.Run:
    """A training of an MLP on `data`, that ended with these weights."""
    weights = Path("mlp-0.safetensors")
    weights.write_text(content)
    identity = Identity(data, "d" * 32, "mlp", 0, GREY, DIGITS)
    return recording.restore_training(connect(data), identity, SETTINGS, weights, HISTORY.format(accuracy))


def versions(client: MlflowClient, data: str) -> dict[str, str]:
    """Number of each version trained on `data`, by the digest of its weights."""
    found = client.search_model_versions(f"name = 'shiftlab-mlp' and tags.data = '{data}'")
    return {one.tags["weights.md5"]: str(one.version) for one in found}


def test_champion_is_the_best_on_validation_images() -> None:
    client = train("digits", "first", 0.6).client
    train("digits", "best", 0.9)
    train("digits", "as good, but later", 0.9)
    train("digits", "last", 0.7)
    train("digits", "best", 0.9)  # again, and no new version
    made = versions(client, "digits")
    assert len(made) == 4
    best = made[files.md5(weights("best"))]
    assert str(client.get_model_version_by_alias("shiftlab-mlp", "champion").version) == best

    train("mnist", "on other data", 0.5)
    (other,) = versions(client, "mnist").values()
    aliases = {
        name: str(client.get_model_version_by_alias("shiftlab-mlp", name).version)
        for name in ("champion", "champion-mnist", "champion-digits")
    }
    assert aliases == {"champion": other, "champion-mnist": other, "champion-digits": best}


def weights(content: str) -> Path:
    path = Path("some")
    path.write_text(content)
    return path


def test_card_says_what_the_model_learned_and_does() -> None:
    run = train("digits", "described", 0.8)
    metrics = evaluation.evaluate(some_predictions(), radius=1, phase=1)
    tables.write_report(metrics, "mlp", 0, Path("report"))
    recording.log_evaluation(run, "zero", "p" * 32, Path("report"))
    found = run.client.get_run(run.id)
    card = found.data.tags["mlflow.note.content"]
    assert "# mlp, seed 0, trained on digits" in card
    assert "recipe notebook, lr 0.001, batch_size 64, epochs 2" in card
    assert "80.00%" in card
    assert "| right5 | 75.00 |" in card
    assert "nan" not in card
    assert found.data.tags["predictions.zero"] == "p" * 32
    assert found.data.metrics["zero low/right5"] < 0.75 < found.data.metrics["zero high/right5"]
    points = run.client.get_metric_history(run.id, "zero/accuracy along x")
    assert sorted((point.step, point.value) for point in points) == [(-1, 2 / 3), (0, 0.0), (1, 0.0)]
    epochs = run.client.get_metric_history(run.id, "validation/accuracy")
    assert [(point.step, point.value) for point in epochs] == [(1, 0.5), (2, 0.8)]


@pytest.mark.parametrize(("experiment", "sweep"), [("depth-3", "depth"), ("depth-12", "depth"), ("calm-moth", None)])
def test_experiments_of_a_queue_share_a_sweep(
    experiment: str, sweep: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", experiment)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abcdef0123")
    run = runs.create(connect("digits"), "comparison", {"data": "digits"})
    assert run.client.get_run(run.id).data.tags["sweep"] == (sweep or "from abcdef0")
