"""What `make study` does: run the study, several variants at a time, and decide its claims.

Each variant is a stage of its own, so that what has run already is not run again, whatever stopped this.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from shiftlab import params, repository
from shiftlab.errors import UserError, one_sentence
from shiftlab.repository import compose, dvc

PARAMS = Path("params.yaml")


def main() -> None:
    """In the workspace; params.yaml is put back as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("choices", nargs="*", help="as of `dvc exp run -S`: data=digits, study.seeds=[0,1,2]")
    parser.add_argument(
        "--jobs", type=int, default=None, help="variants at a time (default: as many as fit the processor)"
    )
    arguments = parser.parse_args()
    repository.require()
    before = PARAMS.read_bytes()
    try:
        named = any(choice.startswith("study=") for choice in arguments.choices)
        compose([*([] if named else ["study=claims"]), *arguments.choices], PARAMS)
        study = params.load().study
        if not study.name:
            raise UserError(f"{' '.join(arguments.choices)} leaves no study to run: take study=claims")
        jobs = arguments.jobs or max(1, (os.cpu_count() or 1) // study.threads)
        dvc("repro", "--single-item", "download")
        run([f"study@{name}" for name in study.variants], jobs)
        dvc("repro", "--single-item", f"decide@{study.name[0]}")
    finally:
        PARAMS.write_bytes(before)
    print("\nThe page is in reports/study/index.html; `make ui` shows the study and its trainings in MLflow.")


def run(stages: Sequence[str], jobs: int) -> None:
    """Run stages, so many at a time, and tell of each that is done.

    Raises:
        UserError: one of them failed; it has said why.
    """
    begun = time.monotonic()
    with ThreadPoolExecutor(jobs) as workers:
        waiting = {workers.submit(repro, stage): stage for stage in stages}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                if future.result():
                    raise UserError(f"{waiting[future]} failed, for the reason above; `make study` goes on from here")
                left = (time.monotonic() - begun) / done * (len(stages) - done) / 60
                print(f"{waiting[future]}: {done} of {len(stages)} done, about {left:.0f} min left", flush=True)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


def repro(stage: str) -> int:
    """Run one stage and return its exit status; what it says is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "--single-item", stage],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr, flush=True)
    return done.returncode


if __name__ == "__main__":
    with one_sentence():
        main()
