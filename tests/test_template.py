"""docs/template.md, carried out on a copy: its files written, its changes applied, its commands typed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.project import Project, new_project

BLOCK = re.compile(r'^```(python|sh|diff)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# Of the tests, those of what the page has changed; the others are run by whoever changes what they are of.
OF_THE_CHANGE = [f"tests/test_{name}.py" for name in ("architecture", "docs", "params", "committed")]
OF_THE_CHANGE += [f"tests/{room}" for room in ("data", "models")]

pytestmark = pytest.mark.skipif(
    not (ROOT / "conf/data/mnist.yaml").exists(), reason="the page has been carried out here: MNIST is out"
)


def carry_out(page: str, copy: Project) -> None:
    """Every step but the first, which makes the copy, and the last."""
    for kind, title, text in BLOCK.findall(page):
        if kind == "python":
            path = copy.root / title
            assert not path.exists()
            path.write_text(text)
        elif kind == "diff":
            (copy.root.parent / "change.diff").write_text(text)
            copy.git("apply", str(copy.root.parent / "change.diff"))
        elif "git clone" not in text and "make run" not in text:
            copy.run("bash", "-euc", text)


def test_changes_of_the_page_apply(tmp_path: Path) -> None:
    """Early, for the test that carries out the page is slow."""
    for kind, _, text in BLOCK.findall((ROOT / "docs/template.md").read_text(encoding="utf-8")):
        if kind == "diff":
            (tmp_path / "change.diff").write_text(text)
            subprocess.run(["git", "apply", "--check", tmp_path / "change.diff"], cwd=ROOT, check=True)


@pytest.mark.slow
def test_every_step_of_the_page_works(tmp_path: Path) -> None:
    copy = new_project(tmp_path / "project", quick=False)
    copy.environment["PYTHONPATH"] = str(copy.root / "src")  # or it would be this tree's package
    carry_out((ROOT / "docs/template.md").read_text(encoding="utf-8"), copy)
    settings = copy.root / "conf/data/shapes.yaml"
    text = settings.read_text()
    assert text.count("radius: 8 # pixels") == 1  # of the evaluation
    settings.write_text(text.replace("radius: 8 # pixels", "radius: 4 # pixels"))  # minutes less
    copy.compose()
    assert "Could not find" in copy.dvc("exp", "run", "-S", "data=mnist", check=False)
    copy.dvc("repro")
    results = copy.read("reports/results.md").decode()
    assert "test images of shapes" in results
    assert "right at some shift" in results
    assert "| wide |" in results
    copy.git("add", "--all")
    copy.git("commit", "--quiet", "--message", "First results")
    copy.run(sys.executable, "scripts/readme.py")
    copy.git("commit", "--quiet", "--all", "--message", "README")
    done = copy.run(sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *OF_THE_CHANGE)
    assert " passed" in done.stdout
