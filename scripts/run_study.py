"""What `make study` does: run the study, several variants at a time, and decide its claims.

Each variant is a stage of its own, so that what has run already is not run again, whatever stopped this.
"""

import argparse
from pathlib import Path

import joblib

from shiftlab import repository
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence
from shiftlab.pipeline import durations, runner
from shiftlab.repository import compose

PARAMS = Path("params.yaml")
STAGES = {"download", "study", "decide"}


def main() -> None:
    """In the workspace; params.yaml is put back as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("choices", nargs="*", help="as of `dvc exp run -S`: data=digits, study.seeds=[0,1,2]")
    parser.add_argument(
        "--jobs", type=int, default=None, help="variants at a time (default: as many as fit the processor)"
    )
    arguments = parser.parse_args()
    repository.require()
    with runner.exclusive():
        before = PARAMS.read_bytes()
        try:
            named = any(choice.startswith("study=") for choice in arguments.choices)
            compose([*([] if named else ["study=claims"]), *arguments.choices], PARAMS)
            chosen = params.load()
            if not chosen.study.name:
                raise UserError(f"{' '.join(arguments.choices)} leaves no study to run: take study=claims")
            jobs = arguments.jobs or max(1, joblib.cpu_count() // chosen.study.threads)
            every = repository.stages()
            stages = {name: needed for name, needed in every.items() if name.partition("@")[0] in STAGES}
            runner.run(stages, durations.expected(chosen, stages), jobs, "make study")
        finally:
            PARAMS.write_bytes(before)
    print("\nThe page is in reports/study/index.html; `make ui` shows the study and its trainings in MLflow.")


if __name__ == "__main__":
    with one_sentence():
        main()
