"""What README.md, CONTRIBUTING.md and docs/ tell people to type exists."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dvc.cli.parser import get_main_parser
from dvc.exceptions import DvcException
from dvc.utils.hydra import compose_and_dump
from ruamel.yaml import YAML
from typer.main import get_command

from shiftlab import params
from shiftlab.cli import app
from tests.helpers import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/audit.md",
    "docs/clusters.md",
    "docs/experiments.md",
    "docs/extend.md",
    "docs/mlflow.md",
    "docs/report.md",
    "docs/results.md",
    "docs/servers.md",
    "docs/speed.md",
    "docs/template.md",
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


def test_modules_are_in_the_annotated_tree() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = [path.name for path in (ROOT / "src/shiftlab").rglob("*.py") if path.name != "__init__.py"]
    assert [name for name in modules if name not in tree] == []
