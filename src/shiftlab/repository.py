"""This repository: git and DVC as the scripts and commands call them, and a look at whether they can be."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shiftlab.errors import UserError

# What git has to have of this tree before anything that is cloned can be the same.
CODE = ["src", "conf", "params.yaml", "dvc.yaml", "dvc.lock", ".dvc/config"]


def root() -> Path:
    """Return where what outlives a copy of this repository lies: MLflow's store, checkpoints, downloads.

    DVC runs queued and temporary experiments in a copy that it deletes afterwards; DVC_ROOT names the original. A sweep
    runs them in clones, and names the place in SHIFTLAB_ROOT.
    """
    return Path(os.environ.get("SHIFTLAB_ROOT") or os.environ.get("DVC_ROOT", "")).resolve()


def require() -> None:
    """Refuse a folder that git does not take for a repository, in which DVC keeps results and experiments.

    Raises:
        UserError: with the two ways out.
    """
    try:
        process = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git is not installed, which DVC keeps results and experiments with: install it") from None
    if process.returncode == 0:
        return
    if "dubious ownership" in process.stderr:
        raise UserError(
            "git refuses this repository, since another user owns it: make it yours (`sudo chown -R $(id -u) .`), or "
            'trust it (`git config --global --add safe.directory "$PWD"`)'
        )
    raise UserError(
        "this folder is no git repository with a commit, which DVC keeps results and experiments in, as after a "
        "download as ZIP: clone the project instead (`git clone ADDRESS`), or make this folder one (`git init && git "
        "add --all && git commit -m start`)"
    )


def require_clean() -> None:
    """Refuse a tree that differs from a clone of its commit.

    Raises:
        UserError: it names what no commit has; as `require`.
    """
    require()
    changed = [line[3:] for line in git("status", "--porcelain", "--", *CODE).splitlines()]
    if changed:
        raise UserError(
            f"experiments begin from a clone of the last commit, which lacks your changes to {', '.join(changed)}: "
            "commit them, or undo them, as `make restore` does for params.yaml and dvc.lock"
        )


def git(*arguments: str) -> str:
    """Return the output of a git command."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def commit() -> str:
    """Return the hash of the commit that is checked out."""
    return git("rev-parse", "HEAD").strip()


def identity() -> dict[str, str]:
    """Return environment variables with the user's name in git, or this package's, as DVC has to have one."""
    parts = {"NAME": ("user.name", "shiftlab"), "EMAIL": ("user.email", "shiftlab@localhost")}
    return {
        f"GIT_{role}_{part}": os.environ.get(f"GIT_{role}_{part}")
        or git("config", "--default", default, "--get", setting).strip()
        or default
        for role in ("AUTHOR", "COMMITTER")
        for part, (setting, default) in parts.items()
    }


def remote_address(name: str) -> str:
    """Return the address of one of git's remotes; a folder's is absolute."""
    address = git("remote", "get-url", name).strip()
    return str(Path(address).absolute()) if Path(address).exists() else address


def dvc(*arguments: str, check: bool = True, capture_output: bool = False) -> None:
    """Run DVC of this environment; it has said why where it fails."""
    process = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=capture_output)
    if check and process.returncode:
        sys.exit(process.returncode)


def dvc_remote() -> str:
    """Return the name of DVC's default remote; empty where there is none."""
    command = [sys.executable, "-m", "dvc", "config", "core.remote"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def stages() -> dict[str, list[str]]:
    """Return every stage that dvc.yaml makes of params.yaml, and the stages that it depends on, by their names.

    Raises:
        UserError: DVC can't read one of them.
    """
    from dvc.exceptions import DvcException  # seconds to import
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph = repo.index.graph
            return {stage.addressing: [before.addressing for before in graph.successors(stage)] for stage in graph}
    except DvcException as error:
        raise UserError(f"DVC can't read the pipeline: {' '.join(str(error).split())}") from None


def compose(choices: Sequence[str], path: Path) -> None:
    """Write params.yaml to a path as DVC would for an experiment.

    Raises:
        UserError: there is no such choice.
    """
    from dvc.utils.hydra import compose_and_dump  # seconds to import

    with _naming_choices(" ".join(choices)):
        compose_and_dump(path, str(Path("conf").resolve()), None, "config", "", list(choices))


def combinations(line: str) -> list[tuple[str, ...]]:
    """Return every combination of the values that a line of choices gives to parameters.

    Raises:
        UserError: it can't be read.
    """
    from dvc.utils.hydra import get_hydra_sweeps  # seconds to import

    with _naming_choices(line):
        return [tuple(sweep["params.yaml"]) for sweep in get_hydra_sweeps({"params.yaml": shlex.split(line)})]


@contextmanager
def _naming_choices(choices: str) -> Iterator[None]:
    """Raise what Hydra or DVC say of wrong choices as a UserError that names them."""
    from dvc.exceptions import DvcException  # seconds to import
    from hydra.errors import HydraException, MissingConfigException
    from yaml import YAMLError

    try:
        yield
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        raise UserError(f"{choices} can't be chosen: {group} is {', '.join(error.options or [])}, not {name}") from None
    except (DvcException, HydraException, YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{choices} can't be chosen ({reason}): `conf/` has what can, as in `model=lenet`") from None
