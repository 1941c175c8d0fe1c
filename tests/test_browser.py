"""MLflow's pages in a real browser: the runs of two models, their comparison, and their pictures."""

import os
import shutil

import pytest
import screenshots

from tests.project import Project
from tests.servers import free_port

NAMES = ["mlp seed 0", "lenet seed 0"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium, as from Debian's package chromium")
def test_models_are_compared_in_the_browser(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reproduced.root)
    for name in set(os.environ) - set(reproduced.environment):
        monkeypatch.delenv(name)
    with screenshots.pages(free_port()) as addresses, screenshots.browser() as page:
        screenshots.open_experiment(page, addresses["shiftlab-digits"], NAMES)
        for column in ("zero/clean", "zero/right5", "zero/consistency", "model", "sweep"):
            page.get_by_role("columnheader", name=column).first.wait_for()
        assert page.get_by_role("link", name="comparison", exact=True).count() == 1
        run = page.get_by_role("link", name="lenet seed 0", exact=True).first.get_attribute("href")
        comparison = page.get_by_role("link", name="comparison", exact=True).get_attribute("href")

        screenshots.compare(page, NAMES)
        page.get_by_role("tab", name="Parallel Coordinates Plot").wait_for()
        page.get_by_text("validation/best accuracy").first.wait_for()
        text = page.inner_text("body")
        assert all(name in text for name in NAMES)
        assert "notebook" in text

        address = addresses["shiftlab-digits"].partition("#")[0]
        page.goto(f"{address}{run}/artifacts/evaluation/zero/maps.png", wait_until="domcontentloaded")
        picture = page.locator("img[src^='blob:'], img[src*='maps.png'], .artifact-view img").first
        picture.wait_for()
        page.wait_for_function("image => image.naturalWidth > 300", arg=picture.element_handle())

        page.goto(f"{address}{comparison}", wait_until="domcontentloaded")  # its description leads to the report
        link = page.get_by_role("link", name="the report", exact=True).get_attribute("href")
        assert link
        page.goto(f"{address}{link[link.index('#') :]}", wait_until="domcontentloaded")
        report = page.frame_locator("iframe.mlflow-html-iframe")
        report.locator("#found button").first.wait_for()
        report.locator("#frame").press("Home")
        assert report.locator("#place").inner_text().endswith("moved by (0, 0)")
