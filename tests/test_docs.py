"""What README.md, CONTRIBUTING.md and docs/ tell people to type exists."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import architecture
import pytest
from dvc.cli.parser import get_main_parser
from dvc.exceptions import DvcException
from dvc.utils.hydra import compose_and_dump
from ruamel.yaml import YAML
from typer.main import get_command

from shiftlab.cli import EXAMPLES, app
from shiftlab.config import params
from tests.helpers import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/audit.md",
    "docs/clusters.md",
    "docs/experiments.md",
    "docs/extend.md",
    "docs/fast.md",
    "docs/index.md",
    "docs/install.md",
    "docs/look.md",
    "docs/mlflow.md",
    "docs/results.md",
    "docs/servers.md",
    "docs/speed.md",
    "docs/template.md",
    "docs/verify.md",
]


def commands(page: str) -> list[str]:
    """Every line of every block of code that is a command, without its comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].partition(" # ")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.split(" ")[0] in ("make", "dvc", "shiftlab", ".venv/bin/python")]


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("make ")])
def test_target_exists(command: str) -> None:
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("dvc ")])
def test_dvc_takes_the_command(command: str) -> None:
    arguments = get_main_parser().parse_args(shlex.split(command)[1:])
    assert arguments.func


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("dvc exp run") and "-S" in one])
def test_choices_can_be_made(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    chosen = [words[at + 1] for at, word in enumerate(words) if word == "-S"]
    overrides = [re.split(r",(?![^\[]*\])", override)[0] for override in chosen]  # the first of a queue's several
    try:
        compose_and_dump(tmp_path / "params.yaml", str(ROOT / "conf"), None, "config", "", overrides)
    except DvcException as error:
        pytest.fail(f"{command}: {error}")
    params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("shiftlab ")])
def test_shiftlab_takes_the_command(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    if arguments != ["--help"]:
        group: Any = get_command(app)
        group.commands[name].make_context(name, arguments)  # parses, and runs nothing


def test_examples_of_the_help_can_be_typed() -> None:
    examples = re.findall(r"shiftlab (audit (?:.*\\\n)*.*)", EXAMPLES)
    assert len(examples) == 2
    for example in examples:
        test_shiftlab_takes_the_command(f"shiftlab {example}".replace("\\\n", " "))


def test_version_and_licence_stand_everywhere() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (about["version"], about["license"])
    assert about["version"] in (ROOT / "CHANGELOG.md").read_text()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith(".venv")])
def test_files_exist(command: str) -> None:
    files = re.findall(r"\b(?:src|tests)/\S+\.py", command)
    assert files or "-m pytest" in command
    assert all((ROOT / file).exists() for file in files)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target


def test_tree_is_that_of_the_modules() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- tree: written by `make readme` -->\n")[2].partition("<!-- end of tree -->")[0]
    assert shown == architecture.tree(ROOT)
    assert [line for line in shown.splitlines() if line.endswith("` ")] == []  # a module without a docstring


def test_no_page_has_the_address_of_another() -> None:
    """`a.md` and `a/index.html` are both built to `a/index.html`, and one of them would not be there."""
    assert [page.name for page in (ROOT / "docs").rglob("*.md") if page.with_suffix("").is_dir()] == []


@pytest.mark.slow
def test_site_has_the_report(tmp_path: Path) -> None:
    mkdocs = ROOT / ".venv-docs/bin/mkdocs"
    if not mkdocs.exists():
        pytest.skip("needs the environment of `make docs`")
    subprocess.run([mkdocs, "build", "--quiet", "--strict", "--site-dir", tmp_path], cwd=ROOT, check=True)
    for page in ("index.html", "study/index.html"):
        assert (tmp_path / "report" / page).read_bytes() == (ROOT / "docs/report" / page).read_bytes()
