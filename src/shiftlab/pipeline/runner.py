"""Run stages of the pipeline, several at a time, and say how far it is, for `make run`, `reproduce` and `study`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from filelock import FileLock, Timeout
from tqdm import tqdm

from shiftlab import determinism
from shiftlab.errors import UserError
from shiftlab.pipeline.arguments import RUNNER

LOCK = Path(".dvc/tmp/pipeline.lock")
MIN_WORK = 0.1  # proportion that has to be done to tell from it how fast the machine is
LOG_EVERY_S = 60  # a line with the time left, where the output is not a terminal
GRACE_S = 60  # that a stage has to write its checkpoint, when it is interrupted
SKIPPED = ("didn't change, skipping", "is cached - skipping run, checking out outputs")  # DVC's words


@dataclass
class Clock:
    """Estimates the time left, from the seconds that stages are expected to take and those that the ended ones took."""

    expected: Mapping[str, float]
    jobs: int
    durations: dict[str, float] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)  # that had nothing to do, and so tell nothing of the machine's speed

    @property
    def ended(self) -> set[str]:
        """Return the stages that have ended."""
        return self.skipped | set(self.durations)

    @property
    def ratio(self) -> float | None:
        """Return how many times as long as expected stages take here; None while too few have run to tell."""
        expected = sum(self.expected[stage] for stage in self.durations)
        if expected < MIN_WORK * sum(self.expected.values()):
            return None
        return sum(self.durations.values()) / expected

    def left(self, running: Mapping[str, float]) -> float:
        """Return the seconds left, with so many seconds spent on each of the stages that are running."""
        rest = sum(seconds for stage, seconds in self.expected.items() if stage not in self.ended)
        return max(0.0, rest * (self.ratio or 1.0) - sum(running.values())) / self.jobs


@contextmanager
def exclusive() -> Iterator[None]:
    """Keep a second command from running stages in this repository meanwhile.

    Raises:
        UserError: another command runs stages.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(LOCK, timeout=0):
            yield
    except Timeout:
        raise UserError(
            "`make run`, `make reproduce` or `make study` is at work in this folder already: wait for it, or clone the "
            "repository once more to run another beside it"
        ) from None


def run(stages: Mapping[str, Sequence[str]], expected: Mapping[str, float], jobs: int, command: str) -> float | None:
    """Run stages, `jobs` at a time, those with the most to come first.

    Args:
        stages: each one's name in dvc.yaml and the names of those that it depends on.
        expected: seconds that each is expected to take.
        command: goes on from here where this one ends early.

    Returns:
        How many times as long as expected they took; None where too little had to be done to tell.

    Raises:
        UserError: one of them failed; the others were interrupted and have kept what they had.
        KeyboardInterrupt: likewise.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal, say: the stages are in groups of their own
        signal.signal(ending, signal.default_int_handler)
    clock = Clock(expected, jobs)
    threads = 1 if jobs > 1 else None  # two stages with one thread each get more done than two with two
    order = sorted(stages, key=lambda stage: -_longest_chain(stage, stages, expected))
    running: dict[str, Process] = {}

    def left() -> str:
        return f"{in_words(clock.left({stage: process.seconds for stage, process in running.items()}))} left"

    terminal, last_line = sys.stdout.isatty(), time.monotonic()
    with tqdm(bar_format="{desc}", disable=not terminal, file=sys.stdout, leave=False) as status:
        try:
            while len(clock.ended) < len(stages):
                begun = clock.ended | running.keys()
                ready = [stage for stage in order if stage not in begun and clock.ended.issuperset(stages[stage])]
                for stage in ready[: jobs - len(running)]:
                    running[stage] = Process(stage, threads)
                    tqdm.write(f"[{len(clock.ended) + len(running)}/{len(stages)}] {label(stage)}, {left()}")
                    sys.stdout.flush()
                time.sleep(0.1)
                for stage, process in list(running.items()):
                    if process.has_ended(command):
                        del running[stage]
                        if process.skipped:
                            clock.skipped.add(stage)
                        else:
                            clock.durations[stage] = process.seconds
                at_work = f"{'; '.join(map(label, running))}: {left()}"
                status.set_description_str(at_work)
                if not terminal and time.monotonic() > last_line + LOG_EVERY_S:
                    print(at_work, flush=True)
                    last_line = time.monotonic()
        finally:
            for process in running.values():
                process.interrupt()
    return clock.ratio


class Process:
    """One stage at work, in a process group of its own, so that an interruption reaches it once."""

    def __init__(self, stage: str, threads: int | None) -> None:
        self._stage, self._begun = stage, time.monotonic()
        self.skipped = False  # since DVC has its outputs
        self._output: IO[str] = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # read where the stage fails
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage],
            env={**os.environ, RUNNER: "yes", **({determinism.THREADS: str(threads)} if threads else {})},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def seconds(self) -> float:
        """Return the seconds since it began."""
        return time.monotonic() - self._begun

    def has_ended(self, command: str) -> bool:
        """Return whether the stage has ended, without failing.

        Raises:
            UserError: it has failed; the sentence is its own, or DVC's, and names the command that goes on from here.
        """
        if self._process.poll() is None:
            return False
        self._output.seek(0)
        lines = [line.strip() for line in self._output]
        self._output.close()
        self.skipped = any(line == f"Stage '{self._stage}' {words}" for line in lines for words in SKIPPED)
        if self._process.returncode:
            own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            of_dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            if any(line.startswith("Traceback") for line in lines):
                print("\n".join(lines), file=sys.stderr, flush=True)  # of a bug
            reason = (own or of_dvc or [f"exit status {self._process.returncode}"])[-1]
            raise UserError(f"{label(self._stage)}: {reason}; `{command}` goes on from here")
        return True

    def interrupt(self) -> None:
        """End the stage as Ctrl-C does, and wait until it has written its checkpoint."""
        try:
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(GRACE_S)
        except ProcessLookupError:
            self._process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


def label(stage: str) -> str:
    """Return a stage's name for people: `predict lenet seed 0` of `predict@lenet-0`."""
    return stage.replace("@", " ").replace("-", " seed ", 1).replace("-", ", ")


def in_words(seconds: float) -> str:
    """Return a duration as roughly as an estimate can be."""
    if seconds < 60:
        return f"about {10 * max(1, round(seconds / 10))} s"
    if seconds < 100 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 1800) / 2:g} hours"


def _longest_chain(stage: str, stages: Mapping[str, Sequence[str]], expected: Mapping[str, float]) -> float:
    """Return the seconds that it and the longest chain of stages after it are expected to take."""
    after = [_longest_chain(other, stages, expected) for other, before in stages.items() if stage in before]
    return expected[stage] + max(after, default=0.0)
