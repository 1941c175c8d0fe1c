"""What `make show` does: `dvc exp show` with those columns alone in which experiments differ, to a terminal's width."""

import argparse
import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import chain

from shiftlab import repository
from shiftlab.config.params import Params
from shiftlab.errors import one_sentence
from shiftlab.reports.blocks import Table
from shiftlab.tracking import history

# What stages depend on, of which DVC shows digests.
FILES = re.compile(r"(src|data|models|predictions|study)(/.*)?|/.*|metrics/study.json|reports/study/.*")
SET = ("params.yaml", "dvc.lock")  # what differs where something else has run than the commit says
METRICS = ("best", "clean", "right5", "random5", "consistency")  # of metrics/summary.json
ABOUT = ("Experiment", "rev", "typ", "parent")  # DVC's columns of which a row's name is made

Row = Mapping[str, str]


def main() -> None:
    """Ask DVC for all columns, and print those worth a look."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    repository.require()
    everything = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "show", "--csv"], stdout=subprocess.PIPE, text=True
    )
    if everything.returncode:
        sys.exit(everything.returncode)  # DVC has said why
    rows = list(csv.DictReader(everything.stdout.splitlines()))
    own = [row if is_measured(row) else without_metrics(row) for row in rows]
    print(shown(own, shutil.get_terminal_size().columns))


def is_measured(row: Row) -> bool:
    """Are a row's metrics its own? Those of a commit are, whatever dvc.lock still says of them."""
    if row["typ"] == "baseline" and (row["rev"] != history.WORKSPACE or not repository.git("diff", "HEAD", "--", *SET)):
        return True
    return history.has_comparison(history.revision(row["rev"]))


def shown(rows: Sequence[Row], width: int) -> str:
    """A line for each row, or lines for each where one has no room for its columns in so many letters."""
    left_out = {*ABOUT, *alike(rows)}
    names = [name for name in (rows[0] if rows else {}) if name not in left_out and not FILES.fullmatch(name)]
    titles = [("" if row["typ"] == "baseline" else "  ") + (row["Experiment"] or row["rev"]) for row in rows]
    cells = [[title, *(row[name] for name in names)] for title, row in zip(titles, rows, strict=True)]
    table = Table(["Experiment", *names], cells).text().rstrip()
    if max(map(len, table.splitlines())) <= width:
        return table
    letters = max(map(len, names))
    lines = [
        [title, *(f"    {name:<{letters}}  {cell}" for name, cell in zip(names, row, strict=True) if cell)]
        for title, *row in cells
    ]
    return "\n".join(chain.from_iterable(lines))


def without_metrics(row: Row) -> Row:
    """The row of an experiment that measured nothing: DVC shows those of the commit it started from as its own."""
    return {name: "" if name in METRICS else value for name, value in row.items()}


def alike(rows: Sequence[Row]) -> list[str]:
    """The parameters that have one value wherever they have any.

    DVC's own `--only-changed` also shows all settings of a model that one of the experiments does without.
    """
    parameters = filter(is_parameter, rows[0] if rows else {})
    return [name for name in parameters if len({row[name] for row in rows} - {""}) < 2]


def is_parameter(name: str) -> bool:
    """Is a column that of a parameter?"""
    return name.split(".")[0] in Params.model_fields


if __name__ == "__main__":
    with one_sentence():
        main()
