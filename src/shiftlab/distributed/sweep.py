"""A sweep: an experiment for each combination of choices, each run wherever there is room, and brought home."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from shiftlab import repository
from shiftlab.config import params
from shiftlab.config.params import Params
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
    stored: bool  # does it begin from the committed data?


def plan(choices: Sequence[str], targets: Sequence[str] = (), name: str = "sweep", study: bool = False) -> Sweep:
    """An experiment for each combination of choices, or for each variant of the study.

    Args:
        choices: of one experiment a line, as `dvc exp run -S` takes them, several values of a parameter included.
        targets: stages; none: the whole pipeline.
        study: run its variants, as the choices have them.

    Raises:
        UserError: there is no such choice, or no such study.
    """
    combinations = [combination for line in choices or [""] for combination in repository.combinations(line)]
    jobs = [job for combination in combinations for job in _jobs(combination, tuple(targets), study)]
    known = [composed(job.choices) for job in jobs]
    # A name tells what was chosen, so that a sweep that is asked for again goes on, and another is another.
    asked = "\n".join([repository.commit(), *(shlex.join([*job.choices, *job.targets]) for job in jobs)])
    prefix = f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:6]}"
    named = {
        f"{prefix}-{number}": Job(f"{prefix}-{number}", job.choices, job.targets)
        for number, job in enumerate(jobs, start=1)
    }
    threads = max(one.study.threads if study else one.threads for one in known)
    room = Resources(threads, int(any(one.device == "cuda" for one in known)))
    now = params.load().data
    return Sweep(prefix, named, room, any(one.data == now for one in known))


def lines(path: Path) -> list[str]:
    """The choices in a user's file: of one experiment a line, or of several where a parameter has several values.

    Raises:
        UserError: no such file, or nothing in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: it has to be a text file with an experiment's choices a line") from None
    found = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not found:
        raise UserError(f"{path} is empty: it has to have an experiment's choices on each line, as in `model=lenet`")
    return found


def carry_out(sweep: Sweep, address: str, tell: Callable[[str], object], cores: int | None = None) -> None:
    """Run all of a sweep's experiments that are not at home yet.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the tree has changes that no commit has; a node can't run them; some have failed.
    """
    with ready(address, sweep.room, cores, sweep.stored) as home:
        if address == HERE:
            tell(f"`shiftlab sweep --ray {engine.address()} --status` shows what runs where")
        there = {job: one for job, one in sweep.jobs.items() if job not in _finished(home)}
        if len(there) < len(sweep.jobs):
            tell(f"{sweep.name}: {len(sweep.jobs) - len(there)} of {len(sweep.jobs)} are done already")
        failed: list[UserError] = []
        tasks = {name: (job, home) for name, job in there.items()}
        with tqdm(total=len(tasks), desc=sweep.name, unit="exp", disable=not tasks) as bar:
            for name, answer in engine.results(node.run, tasks.items(), sweep.room):
                bar.update()
                if isinstance(answer, UserError):
                    failed.append(answer)
                tell(f"{name}: {answer if isinstance(answer, UserError) else shlex.join(there[name].choices)}")
    if not home.root:
        bring_home([name for name in sweep.jobs if name in _finished(home)])
    if failed:
        raise UserError(f"{len(failed)} of {len(sweep.jobs)} experiments failed, the first so: {failed[0]}")


@contextlib.contextmanager
def ready(address: str, room: Resources, cores: int | None, stored: bool) -> Iterator[Origin]:
    """Ray, for as long as the block lasts, with all that has to be so before work begins looked at.

    Args:
        stored: do nodes need the committed data?

    Raises:
        UserError: something is not.
    """
    repository.require()
    repository.require_clean()
    with engine.connected(address, cores):
        home = home_of(address)
        engine.refuse_room(room)
        data = "download" if stored and not home.root else None
        _refuse_nodes(engine.on_every_node(node.look, home, data))
        yield home


def bring_home(names: Sequence[str]) -> None:
    """Fetch experiments, and what DVC holds of them, from where nodes have sent them."""
    away = [name for name in names if not reference(name)]
    if away:
        repository.dvc("exp", "pull", "--quiet", "--run-cache", _remote(), *away)


def home_of(address: str) -> Origin:
    """Where nodes get the commit and send results.

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
    """The name of git's remote.

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


def _refuse_nodes(found: Mapping[str, Mapping[str, str]]) -> None:
    """Make sure that all nodes compute and record alike.

    Raises:
        UserError: one has other versions than this machine.
    """
    here = node.versions()
    for name, there in found.items():
        for package, version in here.items():
            if there[package] != version:
                raise UserError(
                    f"the node {name} has {package} {there[package]}, and this machine {version}: install the same "
                    "there, with requirements.lock"
                )


def _finished(home: Origin) -> set[str]:
    """The names of the experiments that are where results are sent."""
    listed = repository.git("ls-remote", home.repository, "refs/exps/*")
    return {line.rpartition("/")[2] for line in listed.splitlines()}


def reference(name: str) -> str:
    """Git's of an experiment that is at home; empty where it is not."""
    return repository.git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").strip()


def _jobs(choices: tuple[str, ...], targets: tuple[str, ...], study: bool) -> Iterator[Job]:
    """What one combination of choices stands for: an experiment, or one for each of a study's variants, unnamed."""
    if not study:
        yield Job("", settled(choices), targets)
        return
    named = () if any(choice.startswith("study=") for choice in choices) else ("study=claims",)
    everything = (*named, *choices)
    variants = composed(everything).study.variants
    if not variants:
        raise UserError(f"{shlex.join(everything)} leaves no study to run: take study=claims")
    for variant in variants:
        yield Job("", everything, (f"study@{variant}",))


def settled(choices: tuple[str, ...]) -> tuple[str, ...]:
    """With a thread each: as many experiments as there are cores do more than one with all of them."""
    return choices if any(choice.startswith("threads=") for choice in choices) else (*choices, "threads=1")


def composed(choices: Sequence[str]) -> Params:
    """The parameters that choices make.

    Raises:
        UserError: there is no such choice, or a value can't be.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        repository.compose(choices, path)
        try:
            return params.load(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), shlex.join(choices))) from None


def status(address: str) -> str:
    """What runs where on a cluster, and what waits, as a table.

    Raises:
        UserError: no cluster is there, or it does not say.
    """
    with engine.connected(address):
        doing = sorted(engine.doing(), key=lambda one: (one.state, one.node, one.name))
        cores = engine.cores()
    running = [one for one in doing if one.state == "running"]
    rows = [f"{one.name:32} {one.node:28} {one.seconds / 60:6.1f} min" for one in running]
    waiting = len(doing) - len(running)
    return "\n".join([*rows, f"{len(running)} running on {cores} cores, {waiting} waiting"])


def decide(choices: Sequence[str]) -> None:
    """Take a study's variants from where the sweep has put them, and decide its claims."""
    command = [sys.executable, "scripts/run_study.py", *choices]
    done = subprocess.run(command)
    if done.returncode:
        raise UserError("the study could not be decided, for the reason above")
