"""What `make readme` does: write the results' table from metrics/comparison.json into README.md."""

import json
import re
from pathlib import Path

from shiftlab import files, report
from shiftlab.errors import UserError, one_sentence

BEGIN, END = "<!-- results: written by `make readme` -->", "<!-- end of results -->"


def main() -> None:
    """Replace what stands between the two markers."""
    readme, metrics = Path("README.md"), Path("metrics/comparison.json")
    if not metrics.exists():
        raise UserError(f"no {metrics}: `make run` writes it")
    files.write(readme, with_table(readme.read_text(encoding="utf-8"), metrics.read_text(encoding="utf-8")))


def with_table(readme: str, comparison: str) -> str:
    """The README's text with the table of the comparison, a JSON text, between its markers.

    Raises:
        UserError: the README has lost its markers.
    """
    table = report.tables(json.loads(comparison))
    text, count = re.subn(
        f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{table}{END}", readme, flags=re.DOTALL
    )
    if count != 1:
        raise UserError(f"README.md must hold the lines {BEGIN!r} and {END!r}, once and in this order")
    return text


if __name__ == "__main__":
    with one_sentence():
        main()
