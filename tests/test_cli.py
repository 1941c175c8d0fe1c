"""The command as people type it."""

import json
import os
import subprocess
import sys
from itertools import count
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from shiftlab.cli import app
from tests.audits.models import NORMALISED, Plain, data
from tests.helpers import ROOT, SRC

FEW = ["--images", "60", "--radius", "3", "--shifts", "16", "--boundary", "zero"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shiftlab(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def audit(*arguments: str, model: str = "tests.audits.models:build") -> Result:
    return shiftlab("audit", model, "--data", "digits", *NORMALISED, *FEW, *arguments)


def test_audit_prints_a_table_and_writes_a_report() -> None:
    done = audit("--fail-under", "clean=0.5")
    assert done.exit_code == 0, done.output
    assert "consistency" in done.stdout
    assert "passed: zero.clean is" in done.stdout
    assert "sees: the middle 28x28, grey, 0..255 as 0..1, less 0.1307, over 0.3081, as NCHW" in done.stderr
    assert "unshifted images are right (chance" in done.stderr
    place = Path("audits/tests.audits.models-build")
    assert sorted(path.name for path in place.iterdir()) == ["metrics.json", "predictions", "report.html", "zero"]


def test_failed_threshold_is_status_1_and_the_report_is_there() -> None:
    Path("thresholds.txt").write_text("# ours\nclean=0.5 # easy\n\nzero.right5=0.99\n")
    done = audit("--thresholds", "thresholds.txt", "--out", "out")
    assert done.exit_code == 1
    assert "FAILED: zero.right5" in done.stdout
    assert Path("out/report.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_json_is_all_that_is_printed() -> None:
    done = audit("--json")
    assert json.loads(done.stdout)["metrics"]["zero"].keys() >= {"clean", "consistency"}
    assert done.stderr == ""
    quiet = audit("--quiet")
    assert (quiet.output, quiet.exit_code) == ("", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mean", "black"], "--mean is 'black'"),
        (["--crop", "0"], "--crop is '0'"),
        (["--images", "few"], "--images is 'few'"),
        (["--shifts", "0"], "--shifts is '0'"),
        (["--range", "2"], "--range is 2"),
        (["--device", "abacus"], "device is 'abacus'"),
        (["--fail-under", "speed=1"], "unknown metric"),
        (["--thresholds", "nowhere.txt"], "nowhere.txt can't be read: it has to be a text file in UTF-8"),
        (
            ["--classes", "nowhere.txt"],
            "a text file in UTF-8 with the name of an output on each line",
        ),
        (["--weights", "w.safetensors"], "--weights is for timm:NAME"),
        (["--radius", "30"], "out of sight"),
        (["--channels", "rgba"], "--channels is 'rgba': choose of grey, rgb, bgr"),
        (["--regime", "zero"], "--regime is called --boundary now: write that instead"),
        (["--boundary", "sideways"], "--boundary is 'sideways': no boundary mode 'sideways'"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(arguments: list[str], words: str) -> None:
    done = audit(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.output
    assert not Path("audits").exists()


@pytest.mark.usefixtures("undrawn")
def test_outputs_are_named_by_a_file() -> None:
    rng = np.random.default_rng(0)
    test = data().test
    np.savez(
        "renamed.npz", images=test.images.numpy(), labels=test.labels.numpy(), classes=[f"digit {n}" for n in range(10)]
    )
    Path("names.txt").write_text("".join(f"digit {n}\n" for n in range(10)))
    arguments = ["audit", "tests.audits.models:build", "--data", "renamed.npz", *NORMALISED, *FEW]
    straight = shiftlab(*arguments, "--classes", "names.txt", "--json")
    assert json.loads(straight.stdout)["metrics"]["zero"]["clean"]["value"] > 0.8
    order = rng.permutation(10)
    Path("names.txt").write_text("".join(f"digit {n}\n" for n in order))
    assert "the classes in another order" in shiftlab(*arguments, "--classes", "names.txt").stderr
    Path("names.txt").write_text("".join(f"number {n}\n" for n in range(10)))
    assert (
        "the class 'digit 0' of renamed is not among the outputs"
        in shiftlab(*arguments, "--classes", "names.txt").stderr
    )


@pytest.mark.usefixtures("undrawn")
def test_interrupted_audit_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from shiftlab.shifts import inference

    monkeypatch.setattr(inference, "MOST_IN_TASK", 10)
    forward, calls = Plain.forward, count(1)
    last: float = inf

    def stopped(self: Plain, images: torch.Tensor) -> torch.Tensor:
        if next(calls) > last:
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(Plain, "forward", stopped)
    whole = audit("--json", "--out", "whole")
    passes = next(calls) - 1
    calls, last = count(1), passes // 2
    first = audit("--out", "stopped")
    assert first.exit_code == 2
    assert "run the command again to go on" in first.stderr
    assert any(path.is_file() for path in Path("stopped/.unfinished").rglob("*"))
    calls, last = count(1), inf
    again = audit("--json", "--out", "stopped")
    assert next(calls) - 1 < passes  # what was done is not done again
    assert json.loads(again.stdout) == json.loads(whole.stdout)
    assert not Path("stopped/.unfinished").exists()
    assert (
        Path("stopped/predictions/zero.safetensors").read_bytes()
        == Path("whole/predictions/zero.safetensors").read_bytes()
    )


@pytest.mark.usefixtures("undrawn")
def test_audit_is_a_run_where_mlflow_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = audit("--json", "--out", "out")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "shiftlab-digits"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "audit of tests.audits.models:build"
    metrics = json.loads(done.stdout)["metrics"]["zero"]
    assert run.data.metrics["zero/consistency"] == metrics["consistency"]["value"]
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {"metrics.json", "report.html"}


@pytest.mark.usefixtures("undrawn")
def test_two_audits_are_compared() -> None:
    for name in ("first", "second"):
        assert audit("--quiet", "--out", name).exit_code == 0
    done = shiftlab("compare", "first", "second", "--out", "both")
    assert done.exit_code == 0
    assert "difference in points" in done.stdout
    assert Path("both/comparison.html").exists()
    assert json.loads(shiftlab("compare", "first", "second", "--json").stdout)["differences"]["zero"]
    assert shiftlab("compare", "first", "nowhere").exit_code == 2


@pytest.mark.slow
def test_project_of_init_audits_its_model(tmp_path: Path) -> None:
    assert shiftlab("init", "project").exit_code == 0
    workflow = Path("project/.github/workflows/audit.yml").read_text()
    (command,) = [line.partition("run: ")[2] for line in workflow.splitlines() if "run: shiftlab" in line]
    assert command in Path("project/README.md").read_text()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path / "project", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "project/audit/report.html").exists()
    again = shiftlab("init", "project")
    assert again.exit_code == 2
    assert "not empty" in again.stderr


def test_importing_the_package_costs_nothing() -> None:
    slow = "{'torch', 'numpy', 'pydantic', 'typer'}"
    code = f"import sys, shiftlab; print({slow} & set(sys.modules), 'audit' in dir(shiftlab))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() True\n"


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Here: no file may be larger than a few kilobytes."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from shiftlab.cli import app\n"
        f"app({['audit', 'tests.audits.models:build', '--data', 'digits', *NORMALISED, *FEW, '--quiet']!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), str(ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: audits/")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "audits").rglob("*.part"))
    assert not list((tmp_path / "audits").rglob("report.html"))
