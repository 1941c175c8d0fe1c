"""What `make readme` does: write the tables of results, verdicts and speed into README.md, and copy the report."""

import argparse
import json
import re
from pathlib import Path

from shiftlab import files
from shiftlab.errors import UserError, one_sentence
from shiftlab.show import report, study

PAGES = {name: Path("docs/report", name) for name in ("index.html", "study/index.html")}  # of reports/
RESULTS, STUDY, SPEED = Path("metrics/comparison.json"), Path("metrics/study.json"), Path("benchmarks/results.md")


def main() -> None:
    """Replace what stands between each pair of markers, and the copies in docs/report/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    readme = Path("README.md")
    text = with_tables(readme.read_text(encoding="utf-8"), Path())
    for name, copy in PAGES.items():
        report_file = Path("reports", name)
        if not report_file.exists():
            raise UserError(f"no {report_file}: `dvc checkout` brings it back, or `make run` writes it")
        files.write(copy, report_file.read_bytes())
    files.write(readme, text)


def with_tables(readme: str, root: Path) -> str:
    """The README's text with the tables of the repository at `root` between its markers.

    Raises:
        UserError: no results, or the README has lost its markers.
    """
    for path, command in ((RESULTS, "make run"), (STUDY, "make study"), (SPEED, "make bench")):
        if not (root / path).exists():
            raise UserError(f"no {path}: `{command}` writes it")
    results = report.tables(json.loads((root / RESULTS).read_text(encoding="utf-8")))
    decided = study.verdicts(json.loads((root / STUDY).read_text(encoding="utf-8")))
    speed = (root / SPEED).read_text(encoding="utf-8")
    for name, text in (("results", results), ("study", decided), ("speed", speed)):
        readme = _between(readme, name, text)
    return readme


def _between(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: written by `make readme` -->", f"<!-- end of {name} -->"
    pattern = f"{re.escape(begin)}.*{re.escape(end)}"
    replaced, count = re.subn(pattern, lambda _: f"{begin}\n{text}{end}", readme, flags=re.DOTALL)
    if count != 1:
        raise UserError(f"README.md must hold the lines {begin!r} and {end!r}, once and in this order")
    return replaced


if __name__ == "__main__":
    with one_sentence():
        main()
