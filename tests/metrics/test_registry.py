"""A metric is one file; everything that lists metrics iterates the registry."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shiftlab.audits import thresholds
from shiftlab.errors import UserError
from shiftlab.metrics import comparison, definitions, evaluation, registry
from shiftlab.metrics.comparison import Key
from shiftlab.metrics.evaluation import Metrics
from shiftlab.reports import audit, report, tables
from shiftlab.shifts.grids import NAMED_SETS
from shiftlab.tracking import recording
from tests.helpers import ABOUT, some_predictions

KEYS: list[Key] = [("mlp", 0, "zero"), ("lenet", 0, "zero")]

NEW = '''"""Accuracy over the shifts near the centre."""

import numpy as np

from shiftlab.metrics.registry import metric


@metric(label="accuracy within {within} px", over="shifts", within=2, limits=(0.0, 1.0))
def near(predictions):
    """Return where an image is classified right, `(S, M)`."""
    return predictions.grid.predicted == predictions.grid_labels
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package's metrics and one more, in a file of its own that nothing else names."""
    (tmp_path / "near.py").write_text(NEW)
    registry.metrics(1)
    with monkeypatch.context() as patch:
        patch.setattr(definitions, "__path__", [*definitions.__path__, str(tmp_path)])
        patch.setattr(registry, "_registered", dict(registry._registered))
        registry._definitions.cache_clear()
        yield
    registry._definitions.cache_clear()
    del sys.modules[f"{definitions.__name__}.near"]


def measured() -> dict[Key, Metrics]:
    """Metrics of two models with all named sets."""
    one = some_predictions(ABOUT)
    sets = {name: one.sets["right5" if name == "right5" else "clean"] for name in NAMED_SETS}
    return {key: evaluation.evaluate(replace(one, sets=sets), 1, 1) for key in KEYS}


@pytest.mark.usefixtures("added")
def test_new_file_is_found_by_everything_that_lists_metrics(tmp_path: Path) -> None:
    metrics = measured()
    mlp = metrics["mlp", 0, "zero"]
    assert mlp.estimates["near_1"] == mlp.estimates["grid"]

    tables.write_tables(mlp, tmp_path)
    rows = recording.table(tmp_path / "metrics.csv")
    assert {row["metric"] for row in rows} == set(registry.metrics(1))

    limits = thresholds.parse(["near_1=0.9", "zero.near_1=0.1"], ["zero"], 1, labelled=True)
    assert [outcome.passed for outcome in thresholds.check(limits, {"zero": mlp})] == [False, True]

    summary: dict[str, Any] = comparison.summarise(metrics)
    assert "near_1" in summary["models"][0]["metrics"]
    assert [row["difference"] for row in summary["differences"]["zero"] if row["metric"] == "near_1"] == [0]
    summary |= {"augmentation": {name: {"kind": "none", "pixels": 0} for name, *_ in KEYS}}
    assert "| accuracy within 1 px |" in report.tables(summary)
    assert any("near_1" in row for table in report.difference_tables(summary).values() for row in table.rows)

    models = {name: {"metrics": {"zero": entry["metrics"]}} for entry in summary["models"] for name in [entry["model"]]}
    some = next(iter(models.values()))
    some |= {"data": {"name": "digits", "images": 4, "of": 4}}
    some |= {"protocol": {"shifts": 9, "of_shifts": 9, "radius": 1}}
    text = audit.comparison_table(models, summary["differences"])
    assert "mlp less lenet: accuracy within 1 px" in text

    params = {"model": "mlp", "seed": "0", "data": "digits"}
    tags = {"data.md5": "d", "weights.md5": "w", "shape": "1x28x28", "classes": "0, 1", "evaluation": '{"radius": 1}'}
    card = recording.card(params, {"zero/clean": 1.0, "zero/near_1": 0.25}, tags)
    assert "| near_1 | 25.00 |" in card
    assert "near_1: accuracy within 1 px" in card


def test_metrics_are_those_of_protocol_md_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file was imported first."""
    registry.metrics(14)
    backwards = sorted(registry._registered.items(), key=lambda item: item[1].function.__module__, reverse=True)
    monkeypatch.setattr(registry, "_registered", dict(backwards))
    registry._definitions.cache_clear()
    keys = [*("clean", "right5", "right4", "translate3", "random5", "robust_accuracy_3", "agreement", "grid")]
    keys += ["consistency", "pairwise_accuracy", "consistency_by_chance", "corrected_consistency"]
    assert list(registry.metrics(14)) == [*keys, "cosine", "euclidean"]
    assert "robust_accuracy_2" in registry.metrics(2)
    unlabelled = evaluation.evaluate(some_predictions(), 1, 1, labelled=False).estimates
    assert list(unlabelled) == ["agreement", "consistency", "cosine", "euclidean"]


@pytest.mark.parametrize("radius", [1, 3, 14])
def test_a_metric_is_got_by_its_key(radius: int) -> None:
    for key, metric in registry.metrics(radius).items():
        assert registry.get(key) == metric
    for key in ("robust_accuracy", "robust_accuracy_x", "clean_3", ""):
        with pytest.raises(KeyError):
            registry.get(key)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("worst_case", "robust_accuracy_2"),
        ("robust_accuracy", "robust_accuracy_2"),
        ("fidelity", "pairwise_accuracy"),
        ("chance_consistency", "consistency_by_chance"),
    ],
)
def test_thresholds_on_old_names_are_told_the_new(old: str, new: str) -> None:
    with pytest.raises(UserError, match=f"is on {old}, which is called {new} now") as caught:
        thresholds.parse([f"zero.{old}=0.9"], ["zero"], 2, labelled=True)
    assert "\n" not in str(caught.value)


def test_names_are_given_once() -> None:
    with pytest.raises(ValueError, match="two metrics are called grid"):
        registry.metric(label="another", over="images", name="grid")(lambda _: None)
