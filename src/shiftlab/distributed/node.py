"""An experiment on whatever machine has room for it: a clone of its commit, DVC's run there, and its results sent home.

`run` and `preflight` are called on a node. They do their work in a process of its own, which ends with all that it has
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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path

from filelock import FileLock
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from shiftlab.errors import UserError, one_sentence

RETRY_LATER = 75  # exit status of what may well succeed later; BSD's EX_TEMPFAIL
PATIENCE_S = 1800  # with servers that are away
MUST_MATCH = ("shiftlab", "torch", "numpy", "dvc", "mlflow")  # versions that results, or their records, depend on
STORE_LOST = "MLflow's tracking store"  # what a stage's last sentence names where the server is away
DVC = (sys.executable, "-m", "dvc")


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

    @property
    def workspace(self) -> Path:
        """A node's folder of DVC's cache, clones and checkpoints: SHIFTLAB_WORKSPACE, or one of the user's cache."""
        if self.root:
            return Path(self.root, ".dvc", "tmp", "sweep")
        return Path(os.environ.get("SHIFTLAB_WORKSPACE") or Path.home() / ".cache" / "shiftlab").absolute()

    def clone(self, name: str) -> Path:
        """Return the folder that an experiment runs in."""
        return self.workspace / "clones" / name


class LaterError(UserError):
    """An attempt failed for a reason that may pass."""


def versions() -> dict[str, str]:
    """Return the versions of what has to be the same on every node; "none" where it is not installed."""
    installed = {"python": platform.python_version(), **dict.fromkeys(MUST_MATCH, "none")}
    for package in MUST_MATCH:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def preflight(origin: Origin, data: str | None) -> dict[str, str]:
    """Refuse a node that can't run experiments; return its versions.

    Args:
        data: a stage whose outputs the node or DVC's remote has to have; None: none.

    Raises:
        UserError: no commit, data or MLflow can be had there.
    """
    _run_in_subprocess(origin, {"data": data})
    return versions()


def run(job: Job, origin: Origin) -> str:
    """Run an experiment on a node and send its results home; return its name.

    Until the last step, which writes the experiment's reference into git, it may be done again without harm.

    Raises:
        UserError: it failed for a reason that will not pass, or servers were away for too long.
    """
    patiently = retry(
        retry=retry_if_exception_type(LaterError),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_exponential_jitter(initial=1, max=60),
        reraise=True,
    )
    try:
        patiently(_run_in_subprocess)(origin, {"job": asdict(job)})
    finally:
        shutil.rmtree(origin.clone(job.name), ignore_errors=True)  # of an attempt that was ended
    return job.name


def _run_in_subprocess(origin: Origin, task: Mapping[str, object]) -> None:
    """Do a task once, in a process of its own; raise a UserError, or a LaterError, with its last line if it fails."""
    command = [sys.executable, "-m", "shiftlab.distributed.node"]
    with tempfile.TemporaryFile() as output:
        # The pipe to its input is the leash: it breaks when this process is gone, for whatever reason.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert process.stdin
        try:
            process.stdin.write(json.dumps({"origin": asdict(origin), **task}).encode() + b"\n")
            process.stdin.flush()
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left
            process.wait()
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    if status:
        sentence = (lines or [f"it ended with status {status}"])[-1].removeprefix("error: ")
        raise LaterError(sentence) if status == RETRY_LATER or status < 0 else UserError(sentence)


def main() -> None:
    """Do the task on the one line of this process's input."""
    message = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_leash, daemon=True).start()
    origin = Origin(**message["origin"])
    os.environ.update(origin.environment)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ["SHIFTLAB_ROOT"] = origin.root or str(origin.workspace)
    try:
        if "job" in message:
            _run(Job(**message["job"]), origin)
        else:
            _preflight(origin, message["data"])
    except LaterError as error:
        print(error)
        sys.exit(RETRY_LATER)


def _end_with_the_leash() -> None:
    os.read(sys.stdin.fileno(), 1)  # and not sys.stdin.read(), whose lock Python wants back when it ends
    os.killpg(0, signal.SIGKILL)


def _preflight(origin: Origin, data: str | None) -> None:
    from shiftlab.tracking import store  # seconds to import

    with store.required() as client:
        client.search_experiments(max_results=1)
    with _cloned("preflight", origin) as clone:
        if data:
            no_data = "the data is neither there nor in DVC's remote: `dvc push` it from where it is"
            _call(clone, *DVC, "fetch", "--quiet", data, failure=no_data)


def _run(job: Job, origin: Origin) -> None:
    log = origin.workspace / "logs" / f"{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with _cloned(job.name, origin) as clone:
        options = [*([] if origin.root else ["--pull"]), *(f"--set-param={choice}" for choice in job.choices)]
        command = [*DVC, "exp", "run", "--name", job.name, *options, *job.targets]
        with log.open("a", encoding="utf-8") as output:
            process = subprocess.run(command, cwd=clone, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if process.returncode:
            sentence = _last_error(log)
            killed = process.returncode < 0 or "exited with -" in sentence  # DVC, or the stage
            if killed or STORE_LOST in sentence:
                raise LaterError(sentence)
            raise UserError(f"{job.name} failed: {sentence}; all it said is in {log}")
        if not origin.root:
            _call(clone, *DVC, "push", "--quiet", "--run-cache", failure="DVC's remote is away")
        pattern = f"refs/exps/*/*/{job.name}"
        (reference,) = _call(clone, "git", "for-each-ref", "--format=%(refname)", pattern, failure="no results").split()
        # The last step: from here on it is done, and before it is not. Git's own settings may name remotes otherwise.
        push = ("git", "push", "--quiet", "--force", origin.repository, reference)
        _call(clone, *push, failure="the repository is away")


def _last_error(log: Path) -> str:
    """Return the last error of a stage, or else of DVC."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    begin = max((at for at, line in enumerate(lines) if line.startswith("error: ")), default=None)
    if begin is None:
        return ([line for line in lines if "ERROR: " in line] or lines or ["it said nothing"])[-1]
    of_stage = takewhile(lambda line: line and "ERROR: " not in line, lines[begin:])
    return " ".join(" ".join(of_stage).split()).removeprefix("error: ")


@contextlib.contextmanager
def _cloned(name: str, origin: Origin) -> Iterator[Path]:
    """Clone the commit for as long as the block lasts: what an attempt has left would lead the next astray.

    What is worth keeping is not in it: results are in DVC's cache, unfinished work in SHIFTLAB_ROOT.
    """
    clone, cache = origin.clone(name), str(origin.workspace / "cache")
    clone.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(clone.with_name(f"{name}.lock")):
        shutil.rmtree(clone, ignore_errors=True)
        try:
            _git_clone(origin, clone, "--no-checkout", "--reference-if-able", str(_mirror(origin)))
            try:
                _call(clone, "git", "checkout", "--quiet", "--detach", origin.commit, failure="")
            except LaterError:
                lacks = f"{origin.repository} does not have the commit {origin.commit[:9]}"
                raise UserError(f"{lacks}: `git push` it there") from None
            if origin.root:
                cache = str(Path(origin.root, _call(Path(origin.root), *DVC, "cache", "dir", failure="").strip()))
            _call(clone, *DVC, "cache", "dir", "--quiet", "--local", cache, failure="no cache")
            yield clone
        finally:
            shutil.rmtree(clone, ignore_errors=True)


def _mirror(origin: Origin) -> Path:
    """Return what a node keeps of the repository, so that a thousand experiments don't fetch all of it each."""
    if origin.root:
        return Path(origin.root)
    name = hashlib.sha256(origin.repository.encode()).hexdigest()[:12]
    mirror = origin.workspace / f"{name}.git"
    with FileLock(mirror.with_suffix(".lock")):
        if not mirror.exists():
            part = mirror.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            _git_clone(origin, part, "--bare")
            part.rename(mirror)
    return mirror


def _git_clone(origin: Origin, folder: Path, *options: str) -> None:
    command = ("git", "clone", "--quiet", *options, origin.repository, str(folder))
    _call(folder.parent, *command, failure=f"{origin.repository} can't be cloned")


def _call(folder: Path, *command: str, failure: str) -> str:
    """Run a command, and return its output; raise a LaterError of `failure` and the last line if it fails."""
    process = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if process.returncode:
        silent = "it was killed" if process.returncode < 0 else "it said nothing"
        lines = (process.stderr.strip() or process.stdout.strip() or silent).splitlines()
        raise LaterError(f"{failure} ({lines[-1]})")
    return process.stdout


if __name__ == "__main__":
    with one_sentence():
        main()
