"""Decide the study's claims again from metrics/study.json's own values: after a change to a claim or to the rule.

Nothing is trained or run by DVC. It takes the variants' values as they are, and the claims from conf/study/claims.yaml.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from shiftlab import files
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence
from shiftlab.repository import compose

METRICS, FOLDER = Path("metrics/study.json"), Path("reports/study")
COPY = Path("docs/report/study/index.html")


def main() -> None:
    """Write metrics/study.json, reports/study/ and the page's copy in docs/ anew."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not METRICS.exists():
        raise UserError(f"no {METRICS}: `make study` writes it")

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab.reports import study_plots
    from shiftlab.study import summary

    with TemporaryDirectory() as folder:
        composed = Path(folder, "params.yaml")  # params.yaml itself is of the comparison, and stays as it is
        compose(["study=claims"], composed)
        study = params.load(composed).study
    decided = summary.decide_again(study, json.loads(METRICS.read_text(encoding="utf-8")))
    contents = study_plots.contents(decided)
    for name, content in contents.items():
        files.write(FOLDER / name, content)
    files.write(COPY, contents["index.html"])
    files.write(METRICS, json.dumps(decided, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    with one_sentence():
        main()
