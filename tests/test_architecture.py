"""Imports point one way, and what is slow to import waits until it is needed."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from architecture import PACKAGES
from ruamel.yaml import YAML

from tests.helpers import ROOT, SRC, run_python

STAGES = ["download", "train", "predict", "evaluate", "compare", "study", "decide"]
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
    assert {"train", "shiftlab", "shiftlab.tracking.runs", "shiftlab.models.architectures.mlp"} <= set(FILES)
    assert "shiftlab.pipeline.arguments" in ours("train")


# Entry points may import every package, and no package imports them.
ENTRY_POINTS = {"shiftlab", "shiftlab.cli"}


def package_of(name: str) -> str:
    """Return the package of a module; a module outside of all may be imported by every package."""
    _, *parts = name.split(".")
    return parts[0] if parts and parts[0] in PACKAGES else ""


# What people add to: names and what is known of them, without importing PyTorch.
REGISTRIES = {
    "shiftlab.models.architectures",
    "shiftlab.networks.components",
    "shiftlab.data.sources",
    "shiftlab.shifts.boundaries",
}


def test_every_package_is_known() -> None:
    assert {path.name for path in (SRC / "shiftlab").iterdir() if (path / "__init__.py").exists()} == set(PACKAGES)


@pytest.mark.parametrize("name", LIBRARY)
def test_imports_go_down_the_packages(name: str) -> None:
    if name in ENTRY_POINTS:
        return
    below = [*PACKAGES[PACKAGES.index(package_of(name)) :], ""] if package_of(name) else ["config", ""]
    known = (
        REGISTRIES
        if name in ("shiftlab.config.params", "shiftlab.config.audit", "shiftlab.reports.names")
        else set[str]()
    )
    assert [module for module in ours(name) - known if package_of(module) not in below or module in ENTRY_POINTS] == []


def test_what_shows_does_not_know_what_tracks_and_trains() -> None:
    showing = {module for name in LIBRARY if package_of(name) == "reports" for module in ours(name)}
    assert {package_of(module) for module in showing - REGISTRIES} <= {"reports", "metrics", "shifts", "config", ""}


@pytest.mark.parametrize(
    ("library", "package"), [("mlflow", "tracking"), ("fastapi", "tracking"), ("jinja2", "reports")]
)
def test_one_package_imports_the_library(library: str, package: str) -> None:
    assert {package_of(name) for name in importers(library)} == {package}


@pytest.mark.parametrize(
    ("package", "module"),
    [("matplotlib", "primitives"), ("vl_convert", "explorer"), ("gradio", "play")],
)
def test_one_module_knows_the_package(package: str, module: str) -> None:
    assert importers(package) == {f"shiftlab.reports.{module}"}


def test_one_module_knows_ray() -> None:
    assert importers("ray") == {"shiftlab.distributed.engine"}


def test_stages_do_not_know_dvc() -> None:
    assert importers("dvc") == {"shiftlab.tracking.history", "shiftlab.repository"}
    assert not [name for name in FILES if "shiftlab.tracking.syncing" in ours(name)]  # which alone reads all of history


def test_imports_have_no_circle() -> None:
    """A registry's types aside: params.py asks a source for its attributes, and a source loads what params.py says."""
    modules = {name: ours(name) for name in FILES}
    modules["shiftlab.data.sources"] -= {"shiftlab.config.params"}
    list(TopologicalSorter(modules).static_order())


@pytest.mark.parametrize("name", LIBRARY)
def test_library_does_not_know_the_stage_scripts(name: str) -> None:
    assert all(module.startswith("shiftlab") for module in ours(name))


@pytest.mark.parametrize("name", ["training.loop", "metrics.registry", "shifts.inference", "metrics.evaluation"])
def test_core_needs_neither_stages_nor_sources(name: str) -> None:
    known, waiting = set[str](), {f"shiftlab.{name}"}
    while waiting:
        known |= waiting
        waiting = {module for one in waiting for module in ours(one)} - known
    assert not known & {
        "shiftlab.pipeline.arguments",
        "shiftlab.determinism",
        "shiftlab.data.prepare",
        "shiftlab.data.download",
    }


NAMED = re.compile(r"\b(ten|digits?|28)\b", re.IGNORECASE)


@pytest.mark.parametrize(
    "name", [name for name in LIBRARY if package_of(name) in ("tracking", "reports", "metrics", "shifts")]
)
def test_nothing_that_measures_or_shows_names_ten_digits_of_28_pixels(name: str) -> None:
    """In strings and in code; PROTOCOL.md's published metrics are MNIST's own."""
    strings = [
        node.value
        for node in ast.walk(ast.parse(FILES[name].read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int)
    ]
    assert [value for value in strings if NAMED.search(str(value))] == []


def test_dvc_remembers_the_runs_of_stages_that_take_long() -> None:
    """It does not where an output that is neither a metric nor a plot is left to git."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for name in ("train", "predict", "evaluate"):
        assert [out for out in stages[name]["outs"] if not isinstance(out, str)] == []


def test_parameters_are_checked_without_slow_imports(tmp_path: Path) -> None:
    code = (
        "import sys; from shiftlab.config import params; from shiftlab.data import sources; "
        "[sources.get(name).label for name in sources.names()]; print({'torch', 'mlflow', 'numpy'} & set(sys.modules))"
    )
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


# What came with a patch release of Python 3.11, by the release: each one before it lacks that.
# Whole minor versions are mypy's, which is told of 3.11.
OF_A_PATCH_RELEASE = {
    "extractall(filter=)": "3.11.4",
    "extract(filter=)": "3.11.4",
    "unpack_archive(filter=)": "3.11.4",
    "tarfile.data_filter": "3.11.4",
    "getaddresses(strict=)": "3.11.10",
    "parseaddr(strict=)": "3.11.10",
    "os.path.ALLOW_MISSING": "3.11.13",
}
CODE = [
    path for folder in ("src", "scripts", "benchmarks", "notebooks", "tests") for path in (ROOT / folder).rglob("*.py")
]


def attributes_and_keywords(code: str) -> Iterator[str]:
    """Every `a.b` and `a.b.c`, and every `function(keyword=)`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            yield from (f"{name}({keyword.arg}=)" for keyword in node.keywords)


def test_every_patch_release_of_python_3_11_can_run_it() -> None:
    assert "extractall(filter=)" in set(attributes_and_keywords("tarfile.open(a).extractall(b, filter='data')"))
    found = {(path.name, used) for path in CODE for used in attributes_and_keywords(path.read_text(encoding="utf-8"))}
    assert [(name, used) for name, used in found if used in OF_A_PATCH_RELEASE] == []


def test_python_without_pytorch_is_told_what_to_do(tmp_path: Path) -> None:
    done = run_python("-S", "-c", "import shiftlab", cwd=tmp_path)  # -S: without the environment's packages
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no PyTorch: run `make setup`")
    assert done.stderr.count("\n") == 1
