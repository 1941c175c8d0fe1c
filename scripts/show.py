"""What `make show` does: `dvc exp show`, with those columns alone in which experiments differ."""

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

from shiftlab import repository
from shiftlab.config.params import Params
from shiftlab.errors import one_sentence

# What stages depend on, of which DVC shows digests.
FILES = r"(src|data|models|predictions|study)(/.*)?|/.*|metrics/study.json|reports/study/.*"


def main() -> None:
    """Ask DVC for all columns, then for those worth a look."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    repository.require()
    show = [sys.executable, "-m", "dvc", "exp", "show"]
    everything = subprocess.run([*show, "--csv"], stdout=subprocess.PIPE, text=True)
    if everything.returncode:
        sys.exit(everything.returncode)  # DVC has said why
    same = map(re.escape, alike(list(csv.DictReader(everything.stdout.splitlines()))))
    sys.exit(subprocess.run([*show, "--no-pager", "--drop", f"^({'|'.join([FILES, *same])})$"]).returncode)


def alike(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The parameters that have one value wherever they have any.

    DVC's own `--only-changed` also shows all settings of a model that one of the experiments does without.
    """
    parameters = [name for name in (rows[0] if rows else {}) if name.split(".")[0] in Params.model_fields]
    return [name for name in parameters if len({row[name] for row in rows} - {""}) < 2]


if __name__ == "__main__":
    with one_sentence():
        main()
