"""What `make readme` does: write the tables of results, verdicts and speed into the pages, and copy the report."""

import argparse
import json
import re
from pathlib import Path

from shiftlab import files
from shiftlab.errors import UserError, one_sentence
from shiftlab.show import report, study

PAGES = {name: Path("docs/report", name) for name in ("index.html", "study/index.html")}  # of reports/
MADE_ELSEWHERE = {"study/index.html"}  # by `make study`, perhaps on another machine: its copy stays as it is then
TABLES = {"README.md": ("how-much", "study"), "docs/results.md": ("results",), "docs/speed.md": ("speed",)}
RESULTS, STUDY, SPEED = Path("metrics/comparison.json"), Path("metrics/study.json"), Path("benchmarks/results.md")


def main() -> None:
    """Replace what stands between each pair of markers, and the copies in docs/report/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    texts = {page: with_tables(page, Path()) for page in TABLES}
    for name, copy in PAGES.items():
        made = Path("reports", name)
        if made.exists():
            files.write(copy, made.read_bytes())
        elif name not in MADE_ELSEWHERE:
            raise UserError(f"no {made}: `dvc checkout` brings it back, or `make run` writes it")
    for page, text in texts.items():
        files.write(Path(page), text)


def with_tables(page: str, root: Path) -> str:
    """The text of a page of the repository at `root` with its tables between their markers.

    Raises:
        UserError: no results, or the page has lost its markers.
    """
    for path, command in ((RESULTS, "make run"), (STUDY, "make study"), (SPEED, "make bench")):
        if not (root / path).exists():
            raise UserError(f"no {path}: `{command}` writes it")
    results = json.loads((root / RESULTS).read_text(encoding="utf-8"))
    tables = {
        "how-much": report.how_much(results),
        "results": report.tables(results),
        "study": study.verdicts(json.loads((root / STUDY).read_text(encoding="utf-8"))),
        "speed": (root / SPEED).read_text(encoding="utf-8"),
    }
    text = (root / page).read_text(encoding="utf-8")
    for name in TABLES[page]:
        text = _between(text, page, name, tables[name])
    return text


def _between(text: str, page: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name}: written by `make readme` -->", f"<!-- end of {name} -->"
    pattern = f"{re.escape(begin)}.*{re.escape(end)}"
    replaced, count = re.subn(pattern, lambda _: f"{begin}\n{table}{end}", text, flags=re.DOTALL)
    if count != 1:
        raise UserError(f"{page} must hold the lines {begin!r} and {end!r}, once and in this order")
    return replaced


if __name__ == "__main__":
    with one_sentence():
        main()
