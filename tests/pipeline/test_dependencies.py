"""What a stage imports is among what DVC takes it to depend on, so that no edit leaves stale results."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shiftlab import imports
from shiftlab.data import sources
from shiftlab.models import architectures
from tests.helpers import ROOT

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
TRAINED = ("train", "predict", "study")  # stages that build a network

# Modules that change no byte of an output, or all that they decide is a parameter that DVC knows.
EXEMPT = {
    "shiftlab": "the sentence on a missing PyTorch, and public names",
    "shiftlab.config": "parsing: the values are parameters",
    "shiftlab.config.params": "parsing: the values are parameters",
    "shiftlab.environment": "proxies, and variables for libraries that record",
    "shiftlab.errors": "messages",
    "shiftlab.files": "writing files whole",
    "shiftlab.imports": "names of checkpoints",
    "shiftlab.unfinished": "names of unfinished work",
    "shiftlab.pipeline.arguments": "parsing and progress; determinism is a parameter",
    "shiftlab.repository": "where things lie",
    "shiftlab.pipeline.checkpoints": "names of unfinished work",
    "shiftlab.data.sources": "the registry: a source is the file that data.path names",
    "shiftlab.shifts.boundaries": "the registry: boundary modes are files of their own",
}
EXEMPT_PACKAGES = ("shiftlab.tracking", "shiftlab.distributed")  # records; and executors, which give the same bytes
# Packages of which a stage reads types, constants, names and the format of its inputs alone.
READ_AS_DATA = {
    "download": ("shiftlab.models", "shiftlab.networks", "shiftlab.shifts"),
    "train": ("shiftlab.shifts", "shiftlab.metrics", "shiftlab.reports"),  # what is recorded, and names
    "evaluate": ("shiftlab.data", "shiftlab.models", "shiftlab.networks", "shiftlab.determinism"),
    "compare": ("shiftlab.data", "shiftlab.models", "shiftlab.networks", "shiftlab.determinism"),
    "decide": ("shiftlab.data", "shiftlab.models", "shiftlab.networks", "shiftlab.determinism"),
}


def modules(stage: str) -> set[str]:
    """Return all that a stage imports, with what it loads by names."""
    by_name = [f"shiftlab.models.architectures.{name}" for name in architectures.names()] if stage in TRAINED else []
    return set(imports.closure(f"shiftlab.pipeline.{stage}", *by_name))


def covered(module: str, stage: str) -> bool:
    path = Path("src", *module.split("."))
    file = path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")
    deps = [dep.replace("${item.model}", file.stem) for dep in STAGES[stage]["deps"]]
    return any(Path(dep) in (file, *file.parents) for dep in deps)


def exempt(module: str, stage: str) -> bool:
    packages = (*EXEMPT_PACKAGES, *READ_AS_DATA.get(stage, ()))
    empty = (ROOT / Path("src", *module.split("."), "__init__.py")).is_file() and module.count(".") == 1
    return module in EXEMPT or empty or any(module == one or module.startswith(f"{one}.") for one in packages)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_all_that_it_imports(stage: str) -> None:
    assert sorted(name for name in modules(stage) if not covered(name, stage) and not exempt(name, stage)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_there(stage: str) -> None:
    paths = [path for path in STAGES[stage]["deps"] if path.startswith("src/") and "$" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_source_is_the_file_that_its_parameters_name() -> None:
    for path in ROOT.glob("conf/data/*.yaml"):
        values = YAML(typ="safe").load(path)
        data = values.get("data", values)
        if "path" in data and data["source"] != "folder":
            assert data["path"] == f"src/shiftlab/data/sources/{data['source']}.py"
            assert data["source"] in sources.names()


def test_a_new_architecture_makes_no_other_stale() -> None:
    for stage in ("train", "predict"):
        deps = [dep for dep in STAGES[stage]["deps"] if "architectures" in dep or dep == "src/shiftlab/models"]
        folder = "src/shiftlab/models/architectures"
        # Of lenet.py, too, which lenet_shifts takes its layers from.
        assert deps == [f"{folder}/__init__.py", f"{folder}/${{item.model}}.py", f"{folder}/lenet.py"]
