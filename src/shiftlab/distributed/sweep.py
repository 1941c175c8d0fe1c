"""A sweep: an experiment for each combination of choices, each run wherever there is room, its results fetched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from shiftlab import repository
from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.distributed import engine, node
from shiftlab.distributed.engine import LOCAL, Resources
from shiftlab.distributed.node import Job, Origin
from shiftlab.errors import UserError

DEFAULTS = ("threads=1",)  # as many experiments as cores do more, with a thread each, than one with all of them
PASSED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "SHIFTLAB_MIRROR")  # from here to every node


@dataclass(frozen=True)
class Sweep:
    """Experiments, and what of a node each of them needs."""

    name: str
    jobs: Mapping[str, Job]  # by name
    resources: Resources
    committed_data: bool  # does an experiment begin from the data that this commit names?


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
    # The name is that of the choices, so that a sweep that is begun again goes on, and another is another.
    content = "\n".join([repository.commit(), *(shlex.join([*job.choices, *job.targets]) for job in jobs)])
    prefix = f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"
    names = [f"{prefix}-{number}" for number in range(1, len(jobs) + 1)]
    threads = max(config.study.threads if study else config.threads for config in settings)
    gpus = int(any(config.device == "cuda" for config in settings))
    data = params.load().data
    return Sweep(
        prefix,
        {name: replace(job, name=name) for name, job in zip(names, jobs, strict=True)},
        Resources(threads, gpus),
        committed_data=any(config.data == data for config in settings),
    )


def run(sweep: Sweep, address: str, tell: Callable[[str], object], cores: int | None = None) -> None:
    """Run all of a sweep's experiments that have no results yet.

    Args:
        address: Ray's, or "local".
        tell: called with lines on the progress.
        cores: how many of this machine's are used, with "local".

    Raises:
        UserError: the tree has changes that no commit has; a node can't run them; some have failed.
    """
    failures: list[UserError] = []
    with connected(address, sweep.resources, cores, sweep.committed_data) as origin:
        if address == LOCAL:
            tell(f"`shiftlab sweep --ray {engine.address()} --status` shows what runs where")
        finished = _finished(origin) & sweep.jobs.keys()
        if finished:
            tell(f"{sweep.name}: {len(finished)} of {len(sweep.jobs)} are done already")
        tasks = {name: (job, origin) for name, job in sweep.jobs.items() if name not in finished}
        with tqdm(total=len(tasks), desc=sweep.name, unit="exp", disable=not tasks) as bar:
            for name, result in engine.results(node.run, tasks.items(), sweep.resources):
                bar.update()
                if isinstance(result, UserError):
                    failures.append(result)
                tell(f"{name}: {result if isinstance(result, UserError) else shlex.join(sweep.jobs[name].choices)}")
    if not origin.root:
        fetch_results(_finished(origin) & sweep.jobs.keys())
    if failures:
        raise UserError(f"{len(failures)} of {len(sweep.jobs)} experiments failed, the first so: {failures[0]}")


@contextlib.contextmanager
def connected(address: str, resources: Resources, cores: int | None, committed_data: bool) -> Iterator[Origin]:
    """Connect to Ray for as long as the block lasts, and make sure that every node can run experiments.

    Args:
        committed_data: do nodes need the data that this commit names?

    Raises:
        UserError: the tree has changes that no commit has; no node is large enough; one can't run experiments.
    """
    repository.require_clean()
    with engine.connected(address, cores):
        origin = origin_of(address)
        engine.refuse_resources(resources)
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
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | repository.identity()
    if address == LOCAL:
        root = str(Path.cwd())
        return Origin(root, repository.commit(), root, environment)
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
    """Return the name of git's remote, "origin" if there is one of this name."""
    names = repository.git("remote").split()
    if not names:
        raise UserError(
            "nodes elsewhere can't reach this repository: push it to one that they can (`git remote add origin "
            "ADDRESS && git push origin HEAD`)"
        )
    return "origin" if "origin" in names else names[0]


def _refuse_other_versions(of_nodes: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse nodes with other versions than this machine, which compute or record otherwise."""
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
    """Return git's reference of an experiment in this repository; empty where there is none."""
    return repository.git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").strip()


def _jobs(choices: tuple[str, ...], targets: tuple[str, ...], study: bool) -> Iterator[Job]:
    """Yield the unnamed experiment of one combination of choices, or those of the study's variants."""
    if not study:
        yield Job("", with_defaults(choices, *DEFAULTS), targets)
        return
    if not any(choice.startswith("study=") for choice in choices):
        choices = ("study=claims", *choices)
    variants = composed(choices).study.variants
    if not variants:
        raise UserError(f"{shlex.join(choices)} leaves no study to run: take study=claims")
    for variant in variants:
        yield Job("", choices, (f"study@{variant}",))


def with_defaults(choices: tuple[str, ...], *defaults: str) -> tuple[str, ...]:
    """Add those of the defaults, as "threads=1", whose parameters no choice names."""
    named = {choice.partition("=")[0] for choice in choices}
    return (*choices, *(default for default in defaults if default.partition("=")[0] not in named))


def composed(choices: Sequence[str]) -> Params:
    """Return the parameters that choices make.

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
