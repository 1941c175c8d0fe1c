"""The modules that a module needs, as Python itself loads them."""

import shutil
from pathlib import Path

import pytest

from shiftlab import imports
from tests.helpers import SRC, run_python


@pytest.mark.parametrize(
    "name", ["shiftlab.training.loop", "shiftlab.models.architectures.invariant", "shiftlab.shifts.inference"]
)
def test_what_python_loads_is_in_the_closure(name: str, tmp_path: Path) -> None:
    code = f"import sys, {name}; print(*(module for module in sys.modules if module.startswith('shiftlab.')))"
    loaded = set(run_python("-c", code, cwd=tmp_path).stdout.split())
    assert name in loaded
    of_every_module = {"shiftlab.environment"}  # what the outermost package imports, which no closure counts
    assert loaded <= set(imports.closure(name)) | of_every_module


def test_imports_for_types_alone_do_not_count() -> None:
    assert imports.closure("shiftlab.networks.components") == ["shiftlab.networks", "shiftlab.networks.components"]
    architecture = imports.closure("shiftlab.models.architectures.small")
    assert "shiftlab.models.architectures" in architecture  # which names the class Classifier
    assert imports.closure("shiftlab.config.params").count("shiftlab.networks.classifier") == 0


def test_package_stands_for_its_modules() -> None:
    fast = {f"shiftlab.networks.fast.{path.stem}" for path in (SRC / "shiftlab/networks/fast").glob("*.py")}
    fast = {name.removesuffix(".__init__") for name in fast}
    assert len(fast) > 3
    assert fast <= set(imports.closure("shiftlab.networks.fast"))


def test_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        imports.digest("shiftlab.models.nothing")


def test_digest_changes_with_each_file_of_the_closure_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SRC / "shiftlab", tmp_path / "shiftlab", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(imports, "ROOT", tmp_path / "shiftlab")
    name = "shiftlab.models.architectures.small"
    before, needed = imports.digest(name), imports.closure(name)
    assert "shiftlab.networks.layers" in needed
    for path in [*(tmp_path / "shiftlab/models").rglob("*.py"), *(tmp_path / "shiftlab").glob("*.py")]:
        module = ".".join(path.relative_to(tmp_path).with_suffix("").parts).removesuffix(".__init__")
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert (imports.digest(name) != before) == (module in needed), module
        path.write_bytes(content)
