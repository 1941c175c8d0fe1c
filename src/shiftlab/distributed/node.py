"""An experiment on whatever machine has room for it: a clone of its commit, DVC's run there, and its results sent home.

`run` and `look` are called on a node. They do their work in a process of its own, which ends with all that it has
started as soon as they do, however they end: an orphan would go on writing into what the next attempt has begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from shiftlab.errors import UserError, one_sentence

AGAIN = 75  # exit status of what may well succeed later; BSD's EX_TEMPFAIL
PATIENCE_S = 1800  # with servers that are away
MUST_MATCH = ("shiftlab", "torch", "numpy", "dvc", "mlflow")  # versions that results, or their records, depend on
LOST = "MLflow's tracking store"  # what a stage's last sentence names where the server is away
NO_DATA = "the data is neither there nor in DVC's remote: `dvc push` it from where it is"


@dataclass(frozen=True)
class Job:
    """An experiment that is to be run."""

    name: str
    choices: tuple[str, ...]  # as `dvc exp run -S` takes them
    targets: tuple[str, ...] = ()  # stages; none: all


@dataclass(frozen=True)
class Origin:
    """Where experiments come from, and where their results go."""

    repository: str  # git's address of it
    commit: str
    root: str | None  # the repository's folder, where the node is the same machine; its cache and store are used
    environment: Mapping[str, str]  # for the stages


class LaterError(Exception):
    """An attempt came to nothing, for a reason that may pass."""


def workspace(home: Origin) -> Path:
    """Where a node keeps DVC's cache, clones and checkpoints: SHIFTLAB_WORKSPACE, or a folder of the user's cache."""
    if home.root:
        return Path(home.root, ".dvc", "tmp", "sweep")
    return Path(os.environ.get("SHIFTLAB_WORKSPACE") or Path.home() / ".cache" / "shiftlab").absolute()


def versions() -> dict[str, str]:
    """Of what has to be the same on every node."""
    found = {"python": platform.python_version()}
    for package in MUST_MATCH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def look(home: Origin, data: str | None) -> dict[str, str]:
    """See on a node whether experiments can be run there; its versions.

    Args:
        data: a stage whose outputs DVC's remote has to have, if the node does not; None: any will do.

    Raises:
        UserError: no commit, data or MLflow can be had there.
    """
    _apart("look", home, [data], patience_s=0)
    return versions()


def run(job: Job, home: Origin) -> str:
    """Run an experiment on a node and send its results home; its name.

    Until the last step, which writes the experiment's reference into git, it may be done again without harm.

    Raises:
        UserError: it failed for a reason that will not pass, or servers were away for too long.
    """
    try:
        _apart("run", home, [asdict(job)], PATIENCE_S)
    finally:
        shutil.rmtree(_place(job.name, home), ignore_errors=True)  # of an attempt that was ended
    return job.name


def _apart(what: str, home: Origin, arguments: Sequence[object], patience_s: float) -> None:
    """Do it in a process of its own, and again while the reason may pass.

    Raises:
        UserError: as the process ended.
    """
    asked = json.dumps({"what": what, "home": asdict(home), "arguments": arguments})
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(LaterError),
            stop=stop_after_delay(patience_s),
            wait=wait_exponential_jitter(initial=1, max=60),
        ):
            with attempt:
                _attempt(asked)
    except RetryError as error:
        raise UserError(str(error.last_attempt.exception())) from None


def _attempt(asked: str) -> None:
    """Once.

    Raises:
        LaterError, UserError: it failed.
    """
    command = [sys.executable, "-m", "shiftlab.distributed.node"]
    with tempfile.TemporaryFile() as output:
        # The pipe to its input is the leash: it breaks when this process is gone, for whatever reason.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert process.stdin
        try:
            process.stdin.write(f"{asked}\n".encode())
            process.stdin.flush()
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    if status == 0:
        return
    sentence = (said or [f"it ended with status {status}"])[-1].removeprefix("error: ")
    if status == AGAIN or status < 0:
        raise LaterError(sentence)
    raise UserError(sentence)


def main() -> None:
    """The process of its own: told on a line of its input what to do."""
    asked = json.loads(sys.stdin.readline())  # which is all that ever comes
    threading.Thread(target=_end_with_the_leash, daemon=True).start()
    home = Origin(**asked["home"])
    os.environ.update(home.environment)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ["SHIFTLAB_ROOT"] = home.root or str(workspace(home))
    try:
        if asked["what"] == "look":
            _look(home, *asked["arguments"])
        else:
            _run(Job(**{key: _tuple(value) for key, value in asked["arguments"][0].items()}), home)
    except LaterError as error:
        print(error)
        sys.exit(AGAIN)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _end_with_the_leash() -> None:
    os.read(sys.stdin.fileno(), 1)  # and not sys.stdin.read(), whose lock Python wants back when it ends
    os.killpg(0, signal.SIGKILL)


def _look(home: Origin, data: str | None) -> None:
    from shiftlab.tracking import store  # seconds to import

    with store.required() as client:
        client.search_experiments(max_results=1)
    with _clone("look", home) as place:
        if data:
            _do(place, sys.executable, "-m", "dvc", "fetch", "--quiet", data, otherwise=NO_DATA)


def _run(job: Job, home: Origin) -> None:
    with _clone(job.name, home) as place:
        choices = [f"--set-param={choice}" for choice in job.choices]
        fetch = [] if home.root else ["--pull"]
        log = workspace(home) / "logs" / f"{job.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as output:
            done = subprocess.run(
                [sys.executable, "-m", "dvc", "exp", "run", "--name", job.name, *fetch, *choices, *job.targets],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if done.returncode:
            sentence = _sentence(log)
            killed = done.returncode < 0 or "exited with -" in sentence  # DVC, or the stage
            if killed or LOST in sentence:
                raise LaterError(sentence)
            raise UserError(f"{job.name} failed: {sentence}; all it said is in {log}")
        if not home.root:
            _do(place, sys.executable, "-m", "dvc", "push", "--quiet", "--run-cache", otherwise="DVC's remote is away")
        (reference,) = _git(place, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{job.name}").split()
        # The last step: from here on it is done, and before it is not.
        _do(place, "git", "push", "--quiet", "--force", "origin", reference, otherwise="the repository is away")


def _sentence(log: Path) -> str:
    """What a stage, or else DVC, ended with."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    begin = max((at for at, line in enumerate(lines) if line.startswith("error: ")), default=None)
    if begin is None:
        return ([line for line in lines if "ERROR: " in line] or lines or ["it said nothing"])[-1]
    of_stage = takewhile(lambda line: line and "ERROR: " not in line, lines[begin:])
    return " ".join(" ".join(of_stage).split()).removeprefix("error: ")


@contextlib.contextmanager
def _clone(name: str, home: Origin) -> Iterator[Path]:
    """A clone of the commit, for as long as the block lasts: what an attempt has left would lead the next astray.

    What is worth keeping is not in it: results are in DVC's cache, unfinished work in SHIFTLAB_ROOT.
    """
    place = _place(name, home)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f"{name}.lock")):
        shutil.rmtree(place, ignore_errors=True)
        away = f"{home.repository} can't be cloned"
        clone = ["git", "clone", "--quiet", "--no-checkout", "--reference-if-able", str(_mirror(home))]
        _do(place.parent, *clone, home.repository, str(place), otherwise=away)
        try:
            _git(place, "checkout", "--quiet", "--detach", home.commit)
        except subprocess.CalledProcessError:
            raise UserError(
                f"{home.repository} does not have the commit {home.commit[:9]}: `git push` it there"
            ) from None
        cache = _cache(home)
        _do(place, sys.executable, "-m", "dvc", "cache", "dir", "--quiet", "--local", str(cache), otherwise="no cache")
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _mirror(home: Origin) -> Path:
    """What a node keeps of the repository, so that a thousand experiments there don't fetch all of it each."""
    if home.root:
        return Path(home.root)
    name = hashlib.sha256(home.repository.encode()).hexdigest()[:12]
    mirror = workspace(home) / f"{name}.git"
    with FileLock(mirror.with_suffix(".lock")):
        if not mirror.exists():
            part = mirror.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            bare = ("git", "clone", "--quiet", "--bare", home.repository, str(part))
            _do(mirror.parent, *bare, otherwise=f"{home.repository} can't be cloned")
            part.rename(mirror)
    return mirror


def _place(name: str, home: Origin) -> Path:
    return workspace(home) / "clones" / name


def _cache(home: Origin) -> Path:
    if not home.root:
        return workspace(home) / "cache"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=home.root, capture_output=True, text=True, check=True
    )
    return Path(home.root, done.stdout.strip())


def _do(place: Path, *command: str, otherwise: str) -> None:
    """Run what needs the network.

    Raises:
        LaterError: it failed.
    """
    done = subprocess.run(command, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        silent = "it was killed" if done.returncode < 0 else "it said nothing"
        said = (done.stderr.strip() or done.stdout.strip() or silent).splitlines()
        raise LaterError(f"{otherwise} ({said[-1]})")


def _git(place: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=place, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    with one_sentence():
        main()
