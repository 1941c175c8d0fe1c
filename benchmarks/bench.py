"""What `make bench` does: time what a user waits for, and write benchmarks/results.md. It takes some eight minutes.

The ordinary way and shiftlab, native and portable, run one after the other in every round, so that all meet the same
machine, and a large product of matrices beside them, which tells what the processor can do.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TypeVar

import pages
import psutil
import work

from shiftlab import determinism, files
from shiftlab.config import params
from shiftlab.config.params import Determinism
from shiftlab.errors import one_sentence
from shiftlab.reports.names import model_name

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
BUSY = 10  # percent of the processor, taken by others before we begin: above it the numbers are not to be trusted
ROUNDS = 3
MODELS = ("mlp", "lenet", "resnet", "invariant")
HEADER = ("what", "the ordinary way", "shiftlab, native", "shiftlab, portable", "native to ordinary", "the peak")


@dataclass(frozen=True)
class Rates:
    """Images or multiply-adds a second, in every round."""

    ordinary: list[float]
    native: list[float]
    portable: list[float]
    peak: list[float]  # multiply-adds of a large product, native

    def cells(self, name: str, multiply_adds: float) -> Iterator[str]:
        """Return a row of the table; `multiply_adds` are those of an image."""
        yield name
        yield f"{median(self.ordinary):,.0f} images/s"
        for rates in (self.native, self.portable):
            part = median(rates) * multiply_adds / median(self.peak)
            yield f"{median(rates):,.0f} images/s ({part:.0%} of the peak)"
        yield spread([ours / theirs for ours, theirs in zip(self.native, self.ordinary, strict=True)])
        yield f"{2e-9 * median(self.peak):.0f} GFLOP/s"


def main() -> None:
    """Measure, print and save."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    os.chdir(ROOT)
    others = psutil.cpu_percent(interval=3)
    if others > BUSY:
        print(f"Others take {others:.0f}% of this machine's processor: don't trust the numbers.\n", file=sys.stderr)
    rows = []
    for row in (first_answer(), *computing(), *map(list, pages.rows(ROUNDS))):
        rows.append([*row, *[""] * (len(HEADER) - len(row))])
        print(" | ".join(cell for cell in row if cell), flush=True)
    table = "\n".join(f"| {' | '.join(row)} |" for row in [HEADER, ["---"] * len(HEADER), *rows])
    machine = (
        f"{determinism.name()}, {os.cpu_count()} cores, {work.THREADS} threads; Python {platform.python_version()}"
    )
    state = f"others took {others:.0f}% of the processor before. Medians of {ROUNDS} rounds (smallest to largest)"
    files.write(Path("benchmarks", "results.md"), f"{table}\n\nOn {machine}; {state}.\n")


def first_answer() -> list[str]:
    """Run `make run`'s work in a fresh clone: what a new user waits for after set-up."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        python = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}", "PYTHONPATH": f"{folder}/src"}
        environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        published = ROOT / "data/published"
        if published.exists():
            environment.setdefault("SHIFTLAB_MIRROR", str(published))
        before, begun = children_seconds(), time.perf_counter()
        subprocess.run([sys.executable, "scripts/run.py"], cwd=folder, env=environment, check=True)
        spent, used = time.perf_counter() - begun, children_seconds() - before
        data = params.load(Path(folder, "params.yaml")).data.name
    taken = f"{spent:.0f} s ({used:.0f} s of processor time)"
    return [f"the first answer, `make run` after set-up ({data})", "", taken]


def children_seconds() -> float:
    """Return the processor time of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def computing() -> Iterator[list[str]]:
    """Yield the rows of trainings, evaluations and an audit."""
    with worker("native") as native, worker("portable") as portable, worker() as unprepared:

        def call(pool: ProcessPoolExecutor, function: Callable[..., T], *arguments: object) -> T:
            return pool.submit(function, *arguments).result()

        def rates(function: Callable[..., float], model: str) -> Rates:
            rounds = [
                (
                    call(native, function, model, True),
                    call(native, function, model, False),
                    call(portable, function, model, False),
                    call(native, work.peak),
                )
                for _ in range(ROUNDS + 1)
            ][1:]  # the first is slower
            return Rates(*map(list, zip(*rounds, strict=True)))

        trained, evaluated = {}, {}
        for model in MODELS:
            multiply_adds = call(native, work.multiply_adds, model)
            trained[model] = rates(work.train, model)
            # A gradient takes two passes more than an answer.
            yield list(trained[model].cells(f"training: {model_name(model)}", 3 * multiply_adds))
            evaluated[model] = rates(work.evaluate, model)
            yield list(evaluated[model].cells(f"evaluation: {model_name(model)}", multiply_adds))
        ratios = []
        for _ in range(ROUNDS + 1):
            seconds, images = call(native, work.audit)
            ratios.append(seconds / call(unprepared, work.bare, images))
        what = "an audit of timm's ResNet-18 at 224x224, against its bare forward passes in PyTorch's default settings"
        yield [what, "", spread(ratios[1:])]  # the first is slower


def worker(kind: Determinism | None = None) -> ProcessPoolExecutor:
    """Return a process of its own, whose kernels are of that kind; None: which is left as Python starts it."""
    return ProcessPoolExecutor(1, get_context("spawn"), partial(determinism.prepare, kind) if kind else None)


def spread(values: Sequence[float]) -> str:
    """Return the median, the smallest and the largest."""
    return f"**{median(values):.3g}** ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    with one_sentence():
        main()
