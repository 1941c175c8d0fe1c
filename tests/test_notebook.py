"""The notebook runs from top to bottom, and its metrics are the pipeline's."""

import json
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest
import run_notebook

from tests.helpers import ROOT
from tests.project import Project

TEXT = ROOT / "notebooks/translation-invariance.py"


def test_committed_notebook_is_its_text_with_outputs() -> None:
    written, text = nbformat.read(TEXT.with_suffix(".ipynb"), 4), jupytext.read(TEXT)
    assert [(one.cell_type, one.source) for one in written.cells] == [(one.cell_type, one.source) for one in text.cells]
    code = [one for one in written.cells if one.cell_type == "code"]
    assert all(one.execution_count for one in code)
    solutions = [one for one in code if "solution" in one.metadata.get("tags", [])]
    assert solutions
    assert all(one.metadata["jupyter"]["source_hidden"] for one in solutions)


@pytest.mark.slow
def test_notebook_has_the_metrics_of_the_pipeline(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    ran = nbformat.reads(run_notebook.executed(TEXT), 4)
    (cell,) = [one for one in ran.cells if "metrics" in one.metadata.get("tags", [])]
    found = json.loads(cell.outputs[0].text)
    assert set(found) == {"mlp", "lenet", "resnet", "invariant"}

    for name in found:  # with all of their epochs, which a project for tests has not
        shutil.copy(ROOT / f"conf/model/{name}.yaml", project.root / "conf/model")
    for name in ("mlp", "lenet", "invariant"):
        project.compose("data=digits", f"model={name}")
        project.dvc("repro")
        (one,) = json.loads(project.read("metrics/comparison.json"))["models"]
        assert {on: one["metrics"][on]["value"] for on in ("clean", "right5")} == found[name]
