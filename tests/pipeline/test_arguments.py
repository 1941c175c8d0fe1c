import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.pipeline import arguments
from tests.helpers import PARAMETERS, SRC, run_python


def test_arguments_are_a_model_and_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", "mlp", "1"])
    (tmp_path / "params.yaml").write_text(json.dumps(PARAMETERS))
    calls: list[tuple[object, ...]] = []
    stage = SimpleNamespace(run=lambda *values: calls.append(values))
    monkeypatch.setattr(arguments, "importlib", SimpleNamespace(import_module=lambda _: stage))
    monkeypatch.setattr(determinism, "prepare", lambda _: None)
    arguments.run_stage("train", "what it does", "model", "seed")
    assert calls == [(params.load(), "mlp", 1)]


def test_seed_that_is_not_selected_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", "mlp", "77"])
    (tmp_path / "params.yaml").write_text(json.dumps(PARAMETERS))
    with pytest.raises(SystemExit):
        arguments.run_stage("train", "what it does", "model", "seed")
    assert "seed 77 is not among those that params.yaml selects (0, 1)" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [[], ["mlp"], ["mlp", "three"], ["mlp", "1.5"], ["mlp", "1", "2"]])
def test_other_arguments_end_with_the_usage(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *typed])
    with pytest.raises(SystemExit) as caught:
        arguments.run_stage("train", "what it does", "model", "seed")
    assert caught.value.code == 2
    assert "usage: train.py" in capsys.readouterr().err


def test_progress_counts_from_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    with arguments.progress(2000, "mlp seed 0", completed=500) as bar:
        bar.update(1500)
        assert bar.n == bar.total == 2000
    shown = capsys.readouterr()
    assert "mlp seed 0: going on" in shown.out
    assert "25% done" in shown.out
    assert "2.00k/2.00k" in shown.err


def test_progress_in_a_log_is_not_a_line_for_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with arguments.progress(10_000, "mlp seed 0") as bar:
        for _ in range(10_000):
            bar.update(1)
    assert capsys.readouterr().err.count("mlp seed 0") < 10


@pytest.mark.parametrize("script", ["download", "train", "predict", "evaluate", "compare"])
def test_stage_without_parameters_ends_with_a_sentence(script: str, tmp_path: Path) -> None:
    arguments = {"download": [], "compare": [], "evaluate": ["mlp"]}.get(script, ["mlp", "0"])
    done = run_python(SRC / f"{script}.py", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: no params.yaml here: run this from the repository's root\n"


@pytest.mark.parametrize(
    ("script", "model", "sentence"),
    [
        ("train", "lenet", "error: model 'lenet' is not among those that params.yaml selects (mlp)"),
        ("predict", "mlp", "error: no data set at data/digits/dataset.safetensors"),
    ],
)
def test_stage_without_its_inputs_ends_with_a_sentence(script: str, model: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps(PARAMETERS))
    done = run_python(SRC / f"{script}.py", model, "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in done.stderr
