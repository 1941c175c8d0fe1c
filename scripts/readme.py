"""What `make readme` does: write the generated tables into README.md and docs/, and copy the report."""

import argparse
import json
import re
from pathlib import Path

import architecture

from shiftlab import files
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence
from shiftlab.reports import report, study

# Of reports/. A page that is not here, since it was made on another machine, leaves its copy as it is.
PAGES = {name: Path("docs/report", name) for name in ("index.html", "study/index.html")}
TABLES = {
    "README.md": ("answer", "how-much", "where-from"),
    "docs/results.md": ("results", "study"),
    "docs/speed.md": ("speed",),
    "docs/architecture.md": ("tree",),
}
RESULTS, STUDY, SPEED = Path("metrics/comparison.json"), Path("metrics/study.json"), Path("benchmarks/results.md")


def main() -> None:
    """Replace what stands between each pair of markers, and the copies in docs/report/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if preset := params.load().preset:
        raise UserError(
            f"the results here are those of the preset {preset!r}, not those that the pages are about: `make restore` "
            "brings the committed ones back, `make reproduce` makes them anew"
        )
    texts = {page: with_tables(page, Path()) for page in TABLES}
    for name, copy in PAGES.items():
        made = Path("reports", name)
        if made.exists():
            files.write(copy, made.read_bytes())
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
    results, of_study = (json.loads((root / path).read_text(encoding="utf-8")) for path in (RESULTS, STUDY))
    changes = study.changes_table(of_study)
    tables = {
        "answer": f"**{report.short_answer(results)}** {study.answer(of_study)[0]}\n",
        "how-much": report.answer_table(results).markdown(),
        "results": report.tables(results),
        "where-from": changes.markdown() if changes else "",
        "study": study.verdicts(of_study),
        "tree": architecture.tree(root),
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
