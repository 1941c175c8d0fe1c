"""What is committed holds together, whatever a user's own experiment has made of the workspace."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import readme
from dvc.utils.hydra import compose_and_dump
from ruamel.yaml import YAML

from shiftlab.metrics.curves import moves_survived

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of HEAD, as a git that is told to write CRLF checks it out."""
    archive = subprocess.run(["git", "-c", "core.autocrlf=true", "archive", "HEAD"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip("this copy of the project has no git history, so nothing is committed")
    folder = tmp_path_factory.mktemp("committed")
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
    return folder


def test_lines_end_alike_on_every_system(committed: Path) -> None:
    """Else a file's digest is another than the one in dvc.lock, and its stage runs again."""
    texts = [*committed.rglob("*.py"), *committed.rglob("*.yaml"), *committed.rglob("*.csv"), committed / "Makefile"]
    assert [path.name for path in texts if b"\r\n" in path.read_bytes()] == []


def test_params_yaml_is_what_conf_composes(committed: Path, tmp_path: Path) -> None:
    compose_and_dump(tmp_path / "params.yaml", str(committed / "conf"), None, "config", "", [])
    assert (committed / "params.yaml").read_text() == (tmp_path / "params.yaml").read_text()


@pytest.mark.parametrize("page", readme.TABLES)
def test_pages_show_the_committed_metrics(committed: Path, page: str) -> None:
    assert (committed / page).read_text() == readme.with_tables(page, committed)


def test_moves_survived_are_those_of_the_curves(committed: Path) -> None:
    comparison = json.loads((committed / "metrics/comparison.json").read_text())
    for boundary, moves in comparison["moves_survived"].items():
        of_models: dict[str, dict[str, list[float]]] = {}
        with (committed / f"plots/accuracy/{boundary}-x.csv").open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                model = row["model"].partition(" seed ")[0]
                of_models.setdefault(model, {}).setdefault(row["model"], []).append(float(row["accuracy"]))
        assert {model: moves_survived(np.array([*seeds.values()])) for model, seeds in of_models.items()} == moves
    if comparison["data"] == "mnist" and list(of_models) == ["mlp", "lenet", "lenet_shifts", "resnet", "invariant"]:
        assert [*comparison["moves_survived"]["zero"].values()] == [1, 2, 7, 3, 9]


def test_copy_of_the_report_is_the_committed_one(committed: Path) -> None:
    stages = YAML(typ="safe").load(committed / "dvc.lock")["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    assert "reports/index.html" in outs
    for name, copy in readme.PAGES.items():
        if f"reports/{name}" not in outs:
            continue  # the study's, which ran in an earlier commit
        assert hashlib.md5((committed / copy).read_bytes()).hexdigest() == outs[f"reports/{name}"]


def test_results_are_those_of_the_lock(committed: Path) -> None:
    stages = YAML(typ="safe").load(committed / "dvc.lock")["stages"]
    params = YAML(typ="safe").load(committed / "params.yaml")
    for model, settings in params["models"].items():
        for seed in params["seeds"]:
            if stage := stages.get(f"train@{model}-{seed}"):
                assert stage["params"]["params.yaml"][f"models.{model}"] == settings
    comparison = json.loads((committed / "metrics/comparison.json").read_text())
    assert comparison["data"] == params["data"]["name"]
    chosen = [
        (boundary, model, seed)
        for boundary in params["evaluation"]["boundaries"]
        for model in params["models"]
        for seed in params["seeds"]
    ]
    assert [(entry["boundary"], entry["model"], entry["seed"]) for entry in comparison["models"]] == chosen
    assert comparison["radius"] == params["evaluation"]["radius"]
    assert comparison["grid_images"] == params["evaluation"]["images"]


def test_lock_holds_the_code_that_is_committed(committed: Path) -> None:
    """Else the committed results are not those of the committed code, and `dvc repro` would run again."""
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "config", "--local", "core.no_scm", "true"], cwd=committed, check=True)
    done = subprocess.run([*dvc, "status", "--json"], cwd=committed, check=True, capture_output=True, text=True)
    for stage in YAML(typ="safe").load(committed / "dvc.lock")["stages"]:
        changes = [change for change in json.loads(done.stdout).get(stage, []) if isinstance(change, dict)]
        for path, state in chain.from_iterable(change.get("changed deps", {}).items() for change in changes):
            assert (path.startswith("src/"), state) != (True, "modified"), f"{stage}: {path}"


def test_outputs_of_dvc_name_no_place_and_no_time(committed: Path) -> None:
    texts = [committed / "dvc.lock", *committed.glob("metrics/*"), *committed.glob("plots/**/*.csv")]
    for path in texts:
        assert not re.search(r"/home/|/tmp/|/root/|20\d\d-\d\d-\d\d", path.read_text()), path


def test_every_make_target_of_the_readme_exists(committed: Path) -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", (committed / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (committed / "Makefile").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= targets


def test_make_alone_lists_the_commands() -> None:
    output = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert all(f"make {target}" in output.stdout for target in ("run", "demo", "test", "bench", "ui", "lint", "lock"))
