"""What Git and DVC keep of results, old and new: every dvc.lock, and the outputs in DVC's cache that it names."""

import functools
import io
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from shiftlab import files

WORKSPACE = "workspace"  # what stands for a DVC experiment's name in a plain `dvc repro`


class MissingError(Exception):
    """Git or DVC's cache lacks a part of a result."""


@dataclass(frozen=True)
class Revision:
    """A state of the repository with a dvc.lock of its own."""

    experiment: str  # name of the DVC experiment
    commit: str  # of git; of an experiment that which it started from
    tree: str | None  # the commit that has its files; None: they are the workspace's
    stages: Mapping[str, Any]  # by name, as dvc.lock has them

    def __str__(self) -> str:
        if self.experiment != WORKSPACE:
            return f"experiment {self.experiment}"
        return f"commit {self.tree[:7]}" if self.tree else WORKSPACE

    def outputs(self, stage: str) -> dict[str, str]:
        """Return the digests of a stage's outputs, by their paths."""
        return {output["path"]: output["md5"] for output in self.stages[stage].get("outs", [])}

    def inputs(self, stage: str) -> dict[str, str]:
        """Return the digests of what a stage depends on, by the paths."""
        return {dependency["path"]: dependency["md5"] for dependency in self.stages[stage].get("deps", [])}

    def params(self, stage: str) -> dict[str, Any]:
        """Return the parameters that a stage depends on."""
        return dict(self.stages[stage].get("params", {}).get("params.yaml", {}))

    def read(self, path: str) -> bytes:
        """Return the content of a file that git keeps.

        Raises:
            MissingError: git does not have it.
        """
        try:
            return _git("show", f"{self.tree}:{path}") if self.tree else Path(path).read_bytes()
        except (subprocess.CalledProcessError, OSError):
            raise MissingError(f"git does not have {path}") from None


def revisions() -> Iterator[Revision]:
    """Yield every state with another dvc.lock than those before: commits and experiments, then the workspace.

    The oldest is first. The repository is that of the working directory. A dvc.lock that can't be read, as one in the
    midst of a merge, is left out.
    """
    # git's log tells which commits changed dvc.lock: all of this takes 3 s of processor time for 300 experiments. DVC's
    # `Repo.brancher` opens every commit, 13 ms each, in an order of its own; `DVCFileSystem` takes 1.2 to 2.2 s each.
    references = _git("for-each-ref", "--format=%(objectname) %(refname:lstrip=4)", "refs/exps/*/*/*").decode()
    experiments = dict(line.split(" ", maxsplit=1) for line in references.splitlines())
    log = _git("log", "--all", "--reverse", "--format=%H %P", "--", "dvc.lock").decode().splitlines()
    commits = [line.split() for line in log]
    blobs = set()
    for (tree, *parents), (blob, lock) in zip(commits, _locks(tree for tree, *_ in commits), strict=True):
        if blob not in blobs and (stages := _stages(lock)):
            commit = parents[0] if tree in experiments and parents else tree
            yield Revision(experiments.get(tree, WORKSPACE), commit, tree, stages)
        blobs.add(blob)
    if Path("dvc.lock").exists() and _git("hash-object", "dvc.lock").decode().strip() not in blobs:
        head = _git("rev-parse", "HEAD").decode().strip()
        if stages := _stages(Path("dvc.lock").read_text(encoding="utf-8")):
            yield Revision(WORKSPACE, head, None, stages)


def revision(reference: str) -> Revision:
    """Return the state that a commit, or git's reference of an experiment, stands for; "workspace" is the files'."""
    state = Revision(WORKSPACE, reference, None if reference == WORKSPACE else reference, {})
    try:
        return replace(state, stages=_stages(state.read("dvc.lock").decode()))
    except MissingError:
        return state  # nothing has run


def has_comparison(revision: Revision) -> bool:
    """Return whether a state's metrics are its own: stage `compare` ran with its parameters, on its weights.

    A training alone leaves the metrics of the commit that it started from.
    """
    from ruamel.yaml import YAML  # YAML 1.2, as DVC reads params.yaml

    if "compare" not in revision.stages:
        return False
    params = YAML(typ="safe").load(revision.read("params.yaml"))
    for key, value in revision.params("compare").items():
        if functools.reduce(lambda values, part: values.get(part, {}), key.split("."), params) != value:
            return False
    for stage in revision.stages:
        kind, _, key = stage.partition("@")
        weights = f"models/{key}.safetensors"
        if kind == "predict" and key.rpartition("-")[0] in params["models"]:
            trained = revision.outputs(f"train@{key}") if f"train@{key}" in revision.stages else {}
            if revision.inputs(stage).get(weights) != trained.get(weights):
                return False
    return f"data/{params['data']['name']}/dataset.safetensors" in revision.inputs("compare")


def _locks(commits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield git's name for the content of each commit's dvc.lock, and the content; both empty where there is none."""
    names = "".join(f"{commit}:dvc.lock\n" for commit in commits).encode()
    stream = io.BytesIO(_git("cat-file", "--batch", names=names))
    for header in iter(stream.readline, b""):
        blob, *_, size = header.decode().split()
        if size == "missing":
            yield "", ""
        else:
            yield blob, stream.read(int(size)).decode()
            stream.readline()  # the end of the content


def _stages(lock: str) -> dict[str, Any]:
    """Return the stages of a dvc.lock, by name; none where it can't be read."""
    # Stage by stage, since one experiment's lock is that of the others in all but a few: there may be hundreds.
    _, *blocks = re.split(r"^  (?=\S)", lock, flags=re.MULTILINE)
    try:
        return {name: stage for block in blocks for name, stage in _stage(block).items()}
    except (yaml.YAMLError, AttributeError):
        return {}


@functools.cache
def _stage(block: str) -> Any:
    # PyYAML's loader in C takes a quarter of ruamel.yaml's time, whose YAML 1.2 is of no use for what DVC wrote.
    return yaml.load(block, yaml.CSafeLoader)


def checkout(digest: str, to: Path) -> Path:
    """Put the file, or the folder, that DVC's cache has under a digest at `to`; return `to`.

    Raises:
        MissingError: the cache lacks it, or some of it.
    """
    from dvc_data.hashfile import checkout, load
    from dvc_data.hashfile.hash_info import HashInfo

    cache = _cache(Path.cwd())
    try:
        checkout.checkout(str(to), cache.fs, load(cache, HashInfo("md5", digest)), cache, force=True)
    except (FileNotFoundError, checkout.CheckoutError):
        advice = "to which `dvc fetch --all-commits` brings what a remote has"
        raise MissingError(f"not in DVC's cache, {advice}") from None
    return to


@functools.cache
def _cache(root: Path) -> Any:
    from dvc.repo import Repo  # seconds to import

    with Repo(str(root)) as repo:
        return repo.cache.local


def folder_digest(folder: Path) -> str:
    """Return DVC's digest of a folder."""
    from dvc_data.hashfile.tree import Tree

    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"]  # as in .dvcignore
    tree = Tree.from_list([{"md5": files.md5(path), "relpath": str(path.relative_to(folder))} for path in paths])
    tree.digest()
    return str(tree.oid)


def _git(*arguments: str, names: bytes | None = None) -> bytes:
    return subprocess.run(["git", *arguments], input=names, check=True, capture_output=True).stdout
