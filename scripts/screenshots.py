"""What `make screenshots` does: look at the report and MLflow's pages in a browser, and keep pictures for the README.

The browser is Chromium, the system's or, after `playwright install chromium`, Playwright's.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER, REPORT = Path("docs"), Path("reports/index.html")
WIDTH, HEIGHT = 1440, 900  # pixels
PATIENCE_MS = 60_000


def main() -> None:
    """Start MLflow's server, look, and save docs/report.png and docs/mlflow-*.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5003, help="for MLflow's server (default: %(default)s)")
    port = parser.parse_args().port
    wanted = params.load()
    names = [f"{model} seed {wanted.seeds[0]}" for model in wanted.models]
    if not REPORT.exists():
        raise UserError(f"no {REPORT}: `dvc checkout` brings it back, or `make run` writes it")
    FOLDER.mkdir(exist_ok=True)
    with pages(port) as addresses, browser() as page:
        if f"shiftlab-{wanted.data.name}" not in addresses:
            raise UserError(f"MLflow has no runs on {wanted.data.name} yet: `make sync` logs what DVC has")
        open_experiment(page, addresses[f"shiftlab-{wanted.data.name}"], names)
        page.screenshot(path=FOLDER / "mlflow-runs.png")
        compare(page, names)
        page.screenshot(path=FOLDER / "mlflow-comparison.png")
        page.goto(REPORT.resolve().as_uri())
        page.locator("[data-answers] svg").last.wait_for()
        page.screenshot(path=FOLDER / "report.png")


@contextmanager
def pages(port: int) -> Iterator[dict[str, str]]:
    """MLflow's server for as long as the block lasts; the addresses of its experiments by name."""
    command = [sys.executable, str(Path(__file__).with_name("ui.py")), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout
        try:
            told = []
            for line in server.stdout:
                told.append(line)
                if "are ready at" in line:
                    break
            else:
                raise UserError(told[-1].removeprefix("error: ").strip())
            yield dict(re.findall(r"^  (\S+): (http\S+)$", "".join(told), re.MULTILINE))
        finally:
            server.terminate()


@contextmanager
def browser() -> Iterator["Page"]:
    """An empty page of a headless browser."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],  # containers have no sandbox
            )
        except Error as error:
            raise UserError(
                f"no browser ({error.message.splitlines()[0]}): install Chromium, or `.venv/bin/playwright install "
                "chromium`"
            ) from None
        context = opened.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(  # keep MLflow's assistant from covering a third of the page
            "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        )
        yield context.new_page()
        opened.close()


def open_experiment(page: "Page", address: str, runs: Sequence[str]) -> None:
    """Go to the table of runs, and wait until these are there."""
    page.goto(address, wait_until="domcontentloaded")
    for name in runs:
        page.get_by_role("link", name=name, exact=True).first.wait_for()


def compare(page: "Page", runs: Sequence[str]) -> None:
    """From the table of runs: select these, and have MLflow compare them."""
    for name in runs:
        link = page.get_by_role("link", name=name, exact=True).first
        row = page.get_by_role("row").filter(has=link).first
        row.get_by_role("checkbox", name="toggle row selection").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text(f"Comparing {len(runs)} Runs").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()  # their parallel coordinates


if __name__ == "__main__":
    with one_sentence():
        main()
