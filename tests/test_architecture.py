"""Imports point one way, and what is slow to import waits until it is needed."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import ROOT, SRC, run_python

STAGES = ["download", "train", "predict", "evaluate", "compare"]
FILES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SRC.rglob("*.py")
    if ".egg-info" not in str(path)
}
LIBRARY = sorted(name for name in FILES if name.startswith("shiftlab"))


def imported(name: str) -> Iterator[str]:
    """What a module imports, in functions too; `from a import b` is `a.b` where that is a module of ours."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = str(node.module)
            for alias in node.names:
                yield f"{module}.{alias.name}" if f"{module}.{alias.name}" in FILES else module


def importers(package: str) -> set[str]:
    return {name for name in FILES if any(module.split(".")[0] == package for module in imported(name))}


def ours(name: str) -> set[str]:
    return {module for module in imported(name) if module in FILES}


def test_files_are_found() -> None:
    assert {"train", "shiftlab", "shiftlab.tracking", "shiftlab.models", "shiftlab.models.mlp"} <= set(FILES)
    assert "shiftlab.data" in ours("train")


@pytest.mark.parametrize(("package", "importer"), [("mlflow", "shiftlab.tracking"), ("matplotlib", "shiftlab.plots")])
def test_one_module_knows_the_package(package: str, importer: str) -> None:
    assert importers(package) == {importer}


def test_stages_do_not_know_dvc() -> None:
    assert importers("dvc") == {"shiftlab.results"}
    assert not [name for name in FILES if "shiftlab.syncing" in ours(name)]  # which alone reads results


def test_imports_have_no_circle() -> None:
    list(TopologicalSorter({name: ours(name) for name in FILES}).static_order())


@pytest.mark.parametrize("name", LIBRARY)
def test_library_does_not_know_the_stage_scripts(name: str) -> None:
    assert all(module.startswith("shiftlab") for module in ours(name))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "canvas",
            "classifier",
            "cost",
            "data",
            "device",
            "errors",
            "files",
            "inference",
            "models",
            "models.lenet",
            "models.mlp",
        ),
        *("models.resnet", "params", "predictions", "robustness", "shifts", "training", "weights"),
    ],
)
def test_core_needs_neither_tracking_nor_plots_nor_stages(name: str) -> None:
    known, waiting = set[str](), {f"shiftlab.{name}"}
    while waiting:
        known |= waiting
        waiting = {module for one in waiting for module in ours(one)} - known
    assert not known & {"shiftlab.tracking", "shiftlab.plots", "shiftlab.report", "shiftlab.stage", "shiftlab.sources"}


def test_parameters_are_checked_without_slow_imports(tmp_path: Path) -> None:
    code = "import sys; from shiftlab import params; print({'torch', 'mlflow'} & set(sys.modules))"
    assert run_python("-c", code, cwd=tmp_path).stdout == "set()\n"


COMMANDS = [
    *(f"src/{name}.py" for name in STAGES),
    *(str(path.relative_to(ROOT)) for path in ROOT.glob("scripts/*.py")),
]


@pytest.mark.parametrize("script", [*COMMANDS, "benchmarks/bench.py"])
def test_help_comes_without_slow_imports(script: str, tmp_path: Path) -> None:
    done = run_python("-X", "importtime", ROOT / script, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage:")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"torch", "mlflow", "sklearn", "matplotlib"} & imported


def test_python_without_pytorch_is_told_what_to_do(tmp_path: Path) -> None:
    done = run_python("-S", "-c", "import shiftlab", cwd=tmp_path)  # -S: without the environment's packages
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no PyTorch: run `make setup`")
    assert done.stderr.count("\n") == 1
