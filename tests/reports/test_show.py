"""What `make show`, `make sync` and the notebook show of results that are there."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import pytest
import show
from ruamel.yaml import YAML

from shiftlab.metrics.comparison import HEADLINE
from shiftlab.tracking import history, runs, syncing
from shiftlab.tracking.history import MissingError, Revision
from shiftlab.tracking.syncing import Result
from tests.helpers import PARAMETERS, ROOT

NAMES = ["best", *HEADLINE]


def row(name: str, rev: str, kind: str, **cells: str) -> dict[str, str]:
    metrics = dict.fromkeys(NAMES, "0.9946")
    return {
        "Experiment": name,
        "rev": rev,
        "typ": kind,
        "Created": "2026-11-29T03:20:08",
        "parent": "",
        **metrics,
        **cells,
    }


ROWS = [
    row("", "workspace", "baseline", **{"data.name": "mnist", "models.lenet.lr": "0.001", "data/a": "1"}),
    row(
        "lower-learning-rate",
        "a1b2c3d",
        "branch_base",
        **{"data.name": "mnist", "models.lenet.lr": "0.0003", "data/a": "2"},
    ),
]


def test_make_show_at_80_columns() -> None:
    text = show.shown(ROWS, 80)
    assert max(map(len, text.splitlines())) <= 80
    for cell in ("workspace", "lower-learning-rate", "models.lenet.lr", "0.0003", *NAMES):
        assert cell in text
    assert "data.name" not in text  # the same everywhere
    assert "data/a" not in text


def test_make_show_at_200_columns() -> None:
    head, *rows = show.shown(ROWS, 200).splitlines()
    assert head.split() == ["Experiment", "Created", *NAMES, "models.lenet.lr"]
    assert len(rows) == 2


def stages(compare: dict[str, Any], weights: str = "w") -> dict[str, Any]:
    """Return a dvc.lock of one model: `compare` as it ran with other parameters, a training that left other weights."""

    def files(*paths: tuple[str, str]) -> list[dict[str, str]]:
        return [{"path": path, "md5": md5} for path, md5 in paths]

    dataset = f"data/{compare['data']['name']}/dataset.safetensors"
    parameters = {name: compare[name] for name in ("augmentation", "models", "seeds")}
    parameters["evaluation.radius"] = compare["evaluation"]["radius"]
    return {
        "train@mlp-0": {"outs": files(("models/mlp-0.safetensors", weights))},
        "predict@mlp-0": {"deps": files(("models/mlp-0.safetensors", "w"))},
        "compare": {"deps": files((dataset, "d")), "params": {"params.yaml": parameters}},
    }


def other(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(PARAMETERS))
    change(changed)
    return changed


@pytest.mark.parametrize(
    ("params", "weights", "own"),
    [
        (PARAMETERS, "w", True),
        (PARAMETERS, "retrained", False),
        (other(lambda params: params["data"].update(name="mnist")), "w", False),
        (other(lambda params: params["models"]["mlp"].update(lr=0.01)), "w", False),
        (other(lambda params: params["evaluation"].update(radius=3)), "w", False),
        (other(lambda params: params.update(tracking="optional")), "w", True),
    ],
)
def test_make_show_of_an_experiment_that_trained_alone(
    params: dict[str, Any], weights: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    YAML().dump(params, Path("params.yaml"))
    YAML().dump({"schema": "2.0", "stages": stages(PARAMETERS, weights)}, Path("dvc.lock"))
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "experiment"]):
        subprocess.run([*git, *arguments], check=True)
    assert history.has_comparison(history.revision("HEAD")) == own
    assert history.has_comparison(history.revision(history.WORKSPACE)) == own
    Path("dvc.lock").unlink()
    assert not history.has_comparison(history.revision(history.WORKSPACE))


def test_row_of_an_experiment_that_trained_alone_has_no_metrics() -> None:
    blank = show.without_metrics(ROWS[1])
    assert [blank[name] for name in NAMES] == [""] * 5
    assert blank["models.lenet.lr"] == "0.0003"


def test_make_sync_names_what_made_the_result_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").touch()

    def refuse(*_: object) -> None:
        raise MissingError("not in DVC's cache")

    def results(revision: Revision) -> list[Result]:
        return [Result("study", "mnist", ("study.md5", "s"), f"study on mnist ({revision})", refuse)]

    made, trained = Revision("workspace", "a" * 40, "a" * 40, {}), Revision("trained", "b" * 40, "b" * 40, {})
    monkeypatch.setattr(history, "revisions", lambda: [made, trained])  # an experiment has its commit's entries, too
    monkeypatch.setattr(syncing, "results", results)
    monkeypatch.setattr(syncing, "connect", lambda *_, **__: None)
    monkeypatch.setattr(runs, "end_interrupted", lambda _: None)
    monkeypatch.setattr(runs, "results", lambda _: set())
    syncing.sync()
    assert "left out: study on mnist (commit aaaaaaa): not in DVC's cache" in capsys.readouterr().out


def test_notebook_from_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [cell.source for cell in jupytext.read(ROOT / "notebooks/translation-invariance.py").cells]
    (study,) = [source for source in cells if "study.json" in source and "json.loads" in source]
    (root,) = [line for source in cells for line in source.splitlines() if line.startswith("ROOT = ")]
    shown: list[str] = []
    names = {"display": shown.append, "Markdown": str, "json": json}
    exec(f"import shiftlab\nfrom pathlib import Path\n{root}\n{study}", names)
    assert shown[0].startswith("| claim | made by | verdict |")
    assert len(shown[0].splitlines()) == 2 + len(json.loads((ROOT / "metrics/study.json").read_text())["claims"])
