"""Stage `decide`: every claim of the study and its verdict, from what all variants predicted."""

from __future__ import annotations

import json
from pathlib import Path

from shiftlab import files
from shiftlab.config.params import Params
from shiftlab.errors import UserError
from shiftlab.reports import study as report
from shiftlab.reports import study_plots
from shiftlab.study import summary, trials
from shiftlab.tracking import recording
from shiftlab.tracking.store import connect

REPORT = Path("reports/study")


def run(config: Params) -> None:
    """Decide every claim of the study: write metrics/study.json, and plots, tables and a page to reports/study/."""
    study = config.study
    if not study.variants:
        raise UserError("params.yaml selects no variants: choose them with `dvc exp run -S study=claims`")
    paths = {name: trials.path(name) for name in study.variants}
    trials.prune(paths.values())
    verdicts = summary.summarise(study, {name: trials.load(path) for name, path in paths.items()})
    for name, content in study_plots.contents(verdicts).items():
        files.write(REPORT / name, content)
    files.write(Path("metrics/study.json"), json.dumps(verdicts, indent=1, allow_nan=False) + "\n")
    print(report.tables(verdicts))
    recording.log_study(connect(verdicts["data"], config.tracking, "study"), verdicts, REPORT)
