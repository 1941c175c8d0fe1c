"""Git and DVC, as the other scripts call them, and a look at whether they can be."""

import subprocess
import sys

from shiftlab.errors import UserError


def require() -> None:
    """End where git does not take this folder for a repository, in which DVC keeps results and experiments.

    Raises:
        UserError: with the two ways out.
    """
    try:
        asked = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git is not installed, which DVC keeps results and experiments with: install it") from None
    if asked.returncode == 0:
        return
    if "dubious ownership" in asked.stderr:
        raise UserError(
            "git refuses this repository, since another user owns it: make it yours (`sudo chown -R $(id -u) .`), or "
            'trust it (`git config --global --add safe.directory "$PWD"`)'
        )
    raise UserError(
        "this folder is no git repository with a commit, which DVC keeps results and experiments in, as after a "
        "download as ZIP: clone the project instead (`git clone ADDRESS`), or make this folder one (`git init && git "
        "add --all && git commit -m start`)"
    )


def dvc(*arguments: str, check: bool = True, capture_output: bool = False) -> None:
    """Run DVC of this environment; it has said why where it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=capture_output)
    if check and done.returncode:
        sys.exit(done.returncode)


def git(*arguments: str) -> str:
    """The output of a git command."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout
