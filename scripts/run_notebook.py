"""What `make notebook` does: run notebooks/*.py from top to bottom, and keep them with their outputs as .ipynb."""

import argparse
import time
from pathlib import Path

from shiftlab.errors import UserError, one_sentence

FOLDER = Path("notebooks")
PATIENCE_S = 1200  # for one cell


def main() -> None:
    """Run every notebook; one that fails leaves its .ipynb as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the .ipynb files (default: %(default)s)")
    out = parser.parse_args().out
    for path in sorted(FOLDER.glob("*.py")):
        begun = time.monotonic()
        print(f"{path} runs, for some three minutes ...", flush=True)
        text = executed(path)
        out.mkdir(parents=True, exist_ok=True)
        (out / path.with_suffix(".ipynb").name).write_text(text, encoding="utf-8")
        print(f"{out / path.with_suffix('.ipynb').name} is written, after {time.monotonic() - begun:.0f} s")


def executed(path: Path) -> str:
    """A text notebook with its outputs, as .ipynb; the same outputs give the same text.

    Raises:
        UserError: a cell fails.
    """
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    client = NotebookClient(
        notebook,
        timeout=PATIENCE_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # it warns of a loopback that others might listen on
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise UserError(f"{path} stops: {error.ename}: {error.evalue}") from None
    notebook.metadata.pop("language_info", None)  # tells the interpreter's version
    text: str = nbformat.writes(notebook)
    return text + "\n"


if __name__ == "__main__":
    with one_sentence():
        main()
