"""A sweep: an experiment for each combination of choices, each run wherever there is room, its results fetched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from shiftlab import repository
from shiftlab.config.params import Params
from shiftlab.config.params import load as load_params
from shiftlab.distributed import engine, node
from shiftlab.distributed.engine import HERE, Resources
from shiftlab.distributed.node import Job, Origin
from shiftlab.errors import UserError

PASSED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "SHIFTLAB_MIRROR")  # from here to every node


@dataclass(frozen=True)
class Sweep:
    """What is to be run, and with what of a node each."""

    name: str
    jobs: Mapping[str, Job]  # by name
    room: Resources
    committed_data: bool  # does it begin from the data that this commit names?


def plan(choices: Sequence[str], targets: Sequence[str] = (), name: str = "sweep", study: bool = False) -> Sweep:
    """Plan an experiment for each combination of choices, or for each variant of the study.

    Args:
        choices: of one experiment a line, as `dvc exp run -S` takes them, several values of a parameter included.
        targets: stages; none: the whole pipeline.
        study: run its variants, as the choices have them.

    Raises:
        UserError: there is no such choice, or no such study.
    """
    combinations = [combination for line in choices or [""] for combination in repository.combinations(line)]
    jobs = [job for combination in combinations for job in _jobs(combination, tuple(targets), study)]
    settings = [composed(job.choices) for job in jobs]
    # A name tells what was chosen, so that a sweep that is begun again goes on, and another is another.
    content = "\n".join([repository.commit(), *(shlex.join([*job.choices, *job.targets]) for job in jobs)])
    prefix = f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"
    named = [replace(job, name=f"{prefix}-{number}") for number, job in enumerate(jobs, start=1)]
    threads = max(params.study.threads if study else params.threads for params in settings)
    room = Resources(threads, int(any(params.device == "cuda" for params in settings)))
    data = load_params().data
    committed_data = any(params.data == data for params in settings)
    return Sweep(prefix, {job.name: job for job in named}, room, committed_data)


def lines(path: Path) -> list[str]:
    """Read the choices in a user's file: of one experiment a line, or of several where a parameter has several values.

    Raises:
        UserError: no such file, or nothing in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: it has to be a text file with an experiment's choices a line") from None
    choices = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not choices:
        raise UserError(f"{path} is empty: it has to have an experiment's choices on each line, as in `model=lenet`")
    return choices


def run(sweep: Sweep, address: str, tell: Callable[[str], object], cores: int | None = None) -> None:
    """Run all of a sweep's experiments that have no results yet.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the tree has changes that no commit has; a node can't run them; some have failed.
    """
    with connected(address, sweep.room, cores, sweep.committed_data) as origin:
        if address == HERE:
            tell(f"`shiftlab sweep --ray {engine.address()} --status` shows what runs where")
        done = _finished(origin) & sweep.jobs.keys()
        if done:
            tell(f"{sweep.name}: {len(done)} of {len(sweep.jobs)} are done already")
        failures: list[UserError] = []
        tasks = {name: (job, origin) for name, job in sweep.jobs.items() if name not in done}
        with tqdm(total=len(tasks), desc=sweep.name, unit="exp", disable=not tasks) as bar:
            for name, answer in engine.results(node.run, tasks.items(), sweep.room):
                bar.update()
                if isinstance(answer, UserError):
                    failures.append(answer)
                tell(f"{name}: {answer if isinstance(answer, UserError) else shlex.join(sweep.jobs[name].choices)}")
    if not origin.root:
        fetch_results(_finished(origin) & sweep.jobs.keys())
    if failures:
        raise UserError(f"{len(failures)} of {len(sweep.jobs)} experiments failed, the first so: {failures[0]}")


@contextlib.contextmanager
def connected(address: str, room: Resources, cores: int | None, committed_data: bool) -> Iterator[Origin]:
    """Have Ray for as long as the block lasts, once every node has been found fit.

    Args:
        committed_data: do nodes need the data that this commit names?

    Raises:
        UserError: the tree has changes that no commit has; no node has the room; one can't run experiments.
    """
    repository.require()
    repository.require_clean()
    with engine.connected(address, cores):
        origin = origin_of(address)
        engine.refuse_room(room)
        data = "download" if committed_data and not origin.root else None
        _refuse_other_versions(engine.on_every_node(node.preflight, origin, data))
        yield origin


def fetch_results(names: Iterable[str]) -> None:
    """Fetch experiments, and what DVC holds of them, from where nodes have sent them."""
    missing = [name for name in sorted(names) if not reference(name)]
    if missing:
        repository.dvc("exp", "pull", "--quiet", "--run-cache", _remote(), *missing)


def origin_of(address: str) -> Origin:
    """Return where nodes get the commit and send results.

    Raises:
        UserError: nodes elsewhere have no way to.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for who in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{who}_NAME"] = repository.setting("user.name") or "shiftlab"
        environment[f"GIT_{who}_EMAIL"] = repository.setting("user.email") or "shiftlab@localhost"
    if address == HERE:
        top = str(Path.cwd())
        return Origin(top, repository.commit(), top, environment)
    if "MLFLOW_TRACKING_URI" not in environment:
        raise UserError(
            "nodes elsewhere can't reach mlflow.db: name a server that they can, as in `export "
            "MLFLOW_TRACKING_URI=https://mlflow.example.org`; docs/servers.md says how to start one"
        )
    if not repository.dvc_remote():
        raise UserError(
            "nodes elsewhere can't reach DVC's cache: commit a default remote that they can (`dvc remote add --default "
            "storage s3://...`), as docs/servers.md says"
        )
    return Origin(repository.remote_address(_remote()), repository.commit(), None, environment)


def _remote() -> str:
    """Return the name of git's remote.

    Raises:
        UserError: there is none.
    """
    names = repository.git("remote").split()
    if not names:
        raise UserError(
            "nodes elsewhere can't reach this repository: push it to one that they can (`git remote add origin "
            "ADDRESS && git push origin HEAD`)"
        )
    return "origin" if "origin" in names else names[0]


def _refuse_other_versions(of_nodes: Mapping[str, Mapping[str, str]]) -> None:
    """Make sure that all nodes compute and record alike.

    Raises:
        UserError: one has other versions than this machine.
    """
    for package, version in node.versions().items():
        for name, versions in of_nodes.items():
            if versions[package] != version:
                raise UserError(
                    f"the node {name} has {package} {versions[package]}, and this machine {version}: install the same "
                    "there, with requirements.lock"
                )


def _finished(origin: Origin) -> set[str]:
    """Return the names of the experiments that are where results are sent."""
    references = repository.git("ls-remote", origin.repository, "refs/exps/*")
    return {line.rpartition("/")[2] for line in references.splitlines()}


def reference(name: str) -> str:
    """Return git's reference of an experiment in this repository; empty where it is not."""
    return repository.git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").strip()


def _jobs(choices: tuple[str, ...], targets: tuple[str, ...], study: bool) -> Iterator[Job]:
    """Yield what one combination of choices stands for: an experiment, or one for each variant of a study, unnamed."""
    if not study:
        yield Job("", one_thread(choices), targets)
        return
    if not any(choice.startswith("study=") for choice in choices):
        choices = ("study=claims", *choices)
    variants = composed(choices).study.variants
    if not variants:
        raise UserError(f"{shlex.join(choices)} leaves no study to run: take study=claims")
    for variant in variants:
        yield Job("", choices, (f"study@{variant}",))


def one_thread(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Add a thread each to choices that name none: as many experiments as cores do more than one with all of them."""
    return choices if any(choice.startswith("threads=") for choice in choices) else (*choices, "threads=1")


def composed(choices: Sequence[str]) -> Params:
    """Return the parameters that choices make.

    Raises:
        UserError: there is no such choice, or a value can't be.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        repository.compose(choices, path)
        try:
            return load_params(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), shlex.join(choices))) from None


def status(address: str) -> str:
    """Return what runs where on a cluster, and how much waits, as a table.

    Raises:
        UserError: no cluster is there, or it does not say.
    """
    with engine.connected(address):
        return engine.status()


def decide(choices: Sequence[str]) -> None:
    """Decide a study's claims from the variants that a sweep has run."""
    if subprocess.run([sys.executable, "scripts/run_study.py", *choices]).returncode:
        raise UserError("the study could not be decided, for the reason above")
