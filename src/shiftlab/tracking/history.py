"""What Git and DVC hold of results, old and new: every dvc.lock there is, and the outputs in DVC's cache it names."""

import functools
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

WORKSPACE = "workspace"  # what stands for a DVC experiment's name in a plain `dvc repro`


class MissingError(Exception):
    """DVC's cache lacks an output."""


@dataclass(frozen=True)
class Revision:
    """A state of the repository with a dvc.lock of its own."""

    experiment: str  # name of the DVC experiment
    commit: str  # of git; of an experiment that which it started from
    tree: str | None  # the commit that has its files; None: they are the workspace's
    stages: Mapping[str, Any]  # by name, as dvc.lock has them

    def outputs(self, stage: str) -> dict[str, str]:
        """The paths of a stage's outputs and their digests."""
        return {one["path"]: one["md5"] for one in self.stages[stage].get("outs", [])}

    def inputs(self, stage: str) -> dict[str, str]:
        """The paths of what a stage depends on and their digests."""
        return {one["path"]: one["md5"] for one in self.stages[stage].get("deps", [])}

    def params(self, stage: str) -> dict[str, Any]:
        """The parameters that a stage depends on."""
        found: dict[str, Any] = self.stages[stage].get("params", {}).get("params.yaml", {})
        return found

    def text(self, path: str) -> str:
        """A file that git keeps.

        Raises:
            MissingError: there is none.
        """
        return self.content(path).decode()

    def content(self, path: str) -> bytes:
        """The bytes of a file that git keeps.

        Raises:
            MissingError: there is none.
        """
        try:
            return _git_bytes("show", f"{self.tree}:{path}") if self.tree else Path(path).read_bytes()
        except (subprocess.CalledProcessError, OSError):
            raise MissingError(f"git does not have {path}") from None


def revisions() -> Iterator[Revision]:
    """Every state with another dvc.lock than those before: commits and experiments, oldest first, then the workspace.

    The repository is that of the working directory. A dvc.lock that can't be read, as one in the midst of a merge, is
    left out.
    """
    names = {}
    for line in _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
        tip, reference = line.split()
        if reference.count("/") == 4:  # refs/exps/AB/CDEF.../NAME; shorter ones are DVC's own
            names[tip] = PurePosixPath(reference).name
    locks: dict[str, tuple[str, str, str]] = {}  # by the name git has for its content, as first met
    for block in _git(
        "log", "--all", "--reverse", "--format=commit %H %P", "--raw", "--no-abbrev", "--", "dvc.lock"
    ).split("commit ")[1:]:
        first, *changes = block.split("\n")
        tree, *parents = first.split()
        for change in filter(None, changes):
            blob = change.split()[3]
            if set(blob) != {"0"}:  # which stands for a deleted file
                commit = parents[0] if tree in names and parents else tree
                locks.setdefault(blob, (names.get(tree, WORKSPACE), commit, tree))
    for source, text in zip(locks.values(), _blobs(locks), strict=True):
        yield from _revision(*source, text)
    if Path("dvc.lock").exists() and _git("hash-object", "dvc.lock").strip() not in locks:
        head = _git("rev-parse", "HEAD").strip()
        yield from _revision(WORKSPACE, head, None, Path("dvc.lock").read_text(encoding="utf-8"))


def _revision(experiment: str, commit: str, tree: str | None, lock: str) -> Iterator[Revision]:
    # Stage by stage, since one experiment's lock is that of the others in all but a few: there may be hundreds.
    _, *blocks = re.split(r"^  (?=\S)", lock, flags=re.MULTILINE)
    try:
        stages = {name: stage for block in blocks for name, stage in _stage(block).items()}
    except (yaml.YAMLError, AttributeError):
        return
    yield Revision(experiment, commit, tree, stages)


@functools.cache
def _stage(block: str) -> Any:
    # PyYAML's loader in C takes a quarter of ruamel.yaml's time, whose YAML 1.2 is of no use for what DVC wrote.
    return yaml.load(block, yaml.CSafeLoader)


class Cache:
    """DVC's cache: files under the digests of their content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_repository(cls) -> "Cache":
        """That of the repository in the working directory, wherever its configuration has put it."""
        from dvc.repo import Repo

        with Repo() as repo:
            return cls(Path(repo.cache.local.path))

    def copy(self, digest: str, to: Path) -> Path:
        """Put the file, or the folder, with this digest there; returns `to`.

        Raises:
            MissingError: it, or some of it, is not here.
        """
        files = (
            {to / one["relpath"]: one["md5"] for one in self._listing(digest)}
            if digest.endswith(".dir")
            else {to: digest}
        )
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path(content), path)
        return to

    def _listing(self, digest: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self._path(digest).read_text(encoding="utf-8"))
        return found

    def _path(self, digest: str) -> Path:
        path = self._folder / digest[:2] / digest[2:]
        if not path.exists():
            raise MissingError("not in DVC's cache, to which `dvc fetch --all-commits` brings what a remote has")
        return path


def folder_digest(files: Mapping[str, str]) -> str:
    """What DVC calls a folder, whose files and their digests are these."""
    listing = [{"md5": digest, "relpath": path} for path, digest in sorted(files.items())]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _blobs(names: Iterable[str]) -> Iterator[str]:
    """The content of files by the names git has for it, from one process."""
    asked = "".join(f"{name}\n" for name in names).encode()
    rest = subprocess.run(["git", "cat-file", "--batch"], input=asked, check=True, capture_output=True).stdout
    while rest:
        header, _, rest = rest.partition(b"\n")
        size = int(header.split()[2])
        yield rest[:size].decode()
        rest = rest[size + 1 :]


def _git(*arguments: str) -> str:
    return _git_bytes(*arguments).decode()


def _git_bytes(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout
