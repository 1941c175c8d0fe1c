"""Stage `decide`: every claim of the study and its verdict, from what all variants answered."""

import argparse
import json
from pathlib import Path

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence

FOLDER = Path("reports", "study")


def main() -> None:
    """Read params.yaml and study/; write metrics/study.json, and pictures, tables and a page to reports/study/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load()
    study = wanted.study
    if not study.variants:
        raise UserError("params.yaml selects no variants: choose them with `dvc exp run -S study=claims`")
    determinism.prepare()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import files
    from shiftlab.reports import study as show
    from shiftlab.reports import study_plots
    from shiftlab.shifts import predictions
    from shiftlab.study import answers, summary
    from shiftlab.tracking import recording
    from shiftlab.tracking.store import STUDY, connect

    paths = {name: answers.path(name) for name in study.variants}
    predictions.prune_files(paths.values(), answers.FOLDER)
    decided = summary.summarise(study, {name: answers.load(path) for name, path in paths.items()})
    for name, content in study_plots.written(decided).items():
        files.write(FOLDER / name, content)
    files.write(Path("metrics/study.json"), json.dumps(decided, indent=1, allow_nan=False) + "\n")
    print(show.tables(decided))
    recording.log_study(connect(decided["data"], wanted.tracking, STUDY), decided, FOLDER)


if __name__ == "__main__":
    with one_sentence():
        main()
