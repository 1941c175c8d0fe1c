"""The report in a real browser: what it shows of an image at a shift is what the predict stage stored."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import screenshots
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from shiftlab.metrics import comparison
from shiftlab.reports import explorer, report
from shiftlab.reports.plots import of_comparison
from shiftlab.shifts import predictions
from tests.helpers import examples
from tests.metrics.test_comparison import answers, found
from tests.project import Project
from tests.study import trials

pytestmark = pytest.mark.skipif(
    not shutil.which("chromium"), reason="needs Chromium, as from Debian's package chromium"
)

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def page(reproduced: Project) -> Iterator[Page]:
    """The report from disk, in a browser in which nothing may go wrong and nothing may leave the page."""
    wrong: list[str] = []
    with screenshots.browser() as opened:
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        opened.goto((reproduced.root / "reports/index.html").as_uri())
        opened.locator("#found button").first.wait_for()
        yield opened
    assert wrong == []


def called(page: Page) -> list[tuple[str, str]]:
    """What each model calls the image, and how surely, as the page has it."""
    rows = page.locator("#called tbody tr").all()
    return [tuple(row.locator("td").nth(column).inner_text().strip() for column in (0, 1)) for row in rows]  # type: ignore[misc]


def test_every_answer_is_the_stored_one(page: Page, reproduced: Project) -> None:
    rng = np.random.default_rng(0)
    models = [name.inner_text() for name in page.locator("#called tbody th").all()]
    stored = {model: predictions.load(reproduced.root / predictions.path(model, 0, "zero")) for model in models}
    some = next(iter(stored.values()))
    there = [
        int(str(one.get_attribute("aria-label")).split()[3].rstrip(",")) for one in page.locator("#found button").all()
    ]
    assert set(there) <= set(some.grid.images.tolist())
    for _ in range(50):
        image = int(rng.choice(there))
        shift = int(rng.integers(len(some.grid.shifts)))
        dx, dy = some.grid.shifts[shift].tolist()
        page.fill("#number", str(image))
        page.press("#number", "Enter")
        page.locator("#dx").fill(str(dx))
        page.locator("#dy").fill(str(dy))
        grid, label = some.grid, some.labels[image]
        place = int(np.flatnonzero(grid.images == image)[0])
        for model, (answer, sure) in zip(models, called(page), strict=True):
            of = stored[model].grid
            number = of.predicted[shift, place]
            mark = "✓" if number == label else "✗"
            assert answer == f"{mark} {some.metadata.classes[number]}"
            assert sure == f"{np.rint(100 * float(of.confidence[shift, place])):.0f}%"


def test_image_moves_by_mouse_and_by_keys(page: Page) -> None:
    page.click("#back")
    assert page.inner_text("#place").endswith("moved by (0, 0)")
    box = page.locator("#frame").bounding_box()
    assert box
    scale = box["width"] / 28
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100 + 2 * scale, box["y"] + 100 - 1 * scale, steps=5)
    page.wait_for_function("document.getElementById('place').textContent.endsWith('(2, -1)')")
    page.mouse.move(box["x"] + 100 + 20 * scale, box["y"] + 100, steps=5)  # farther than the grid goes
    page.wait_for_function("document.getElementById('place').textContent.endsWith('(2, 0)')")
    page.mouse.up()
    page.mouse.move(box["x"], box["y"])
    page.focus("#frame")
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert page.inner_text("#place").endswith("moved by (1, 2)")
    position = page.evaluate("getComputedStyle(document.getElementById('frame')).backgroundPosition")
    assert position == f"{scale * 1:g}px {scale * 2:g}px"
    page.keyboard.press("Home")
    assert page.inner_text("#place").endswith("moved by (0, 0)")


@pytest.mark.usefixtures("undrawn")
def test_every_boundary_of_a_page_has_its_edge_and_its_answers(page: Page, tmp_path: Path) -> None:
    stored, metrics, images = answers(), found(), examples(4).images
    summary, study = comparison.summarise(metrics), trials.summarised()
    summary["augmentation"] = {one["model"]: {"kind": "none", "pixels": 0} for one in summary["models"]}
    parts = explorer.parts(stored, metrics, images, study)
    pictures = of_comparison(stored, metrics, images)
    html = report.page(summary, pictures, parts, study, {"plane": b""})
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    page.goto((tmp_path / "index.html").as_uri())
    page.select_option("#claim", index=1)
    assert page.inner_text("#claim-says")
    repeats = "getComputedStyle(document.getElementById('frame')).backgroundRepeat"
    for boundary, edge in (("zero", "no-repeat"), ("circular", "repeat")):
        page.select_option("#boundary", boundary)
        assert page.evaluate(repeats) == edge
        some = stored["lenet", 0, boundary]
        page.fill("#number", str(some.grid.images[1]))
        page.press("#number", "Enter")
        page.locator("#dx").fill("-1")
        page.locator("#dy").fill("1")
        (shift,) = np.flatnonzero((some.grid.shifts == (-1, 1)).all(axis=1))
        assert called(page)[1][0].split()[1] == some.metadata.classes[some.grid.predicted[shift, 1]]


def test_fragile_images_are_found_and_opened(page: Page) -> None:
    shares = [float(one.inner_text().strip().rstrip("%")) for one in page.locator("#found button").all()]
    assert shares == sorted(shares)
    page.select_option("#of-class", "3")
    labels = [str(one.get_attribute("aria-label")) for one in page.locator("#found button").all()]
    assert labels
    assert all(", a 3, " in label for label in labels)
    page.locator("#found button").first.click()
    assert page.input_value("#number") == labels[0].split()[3].rstrip(",")
    assert page.inner_text("#place").startswith("3 moved")
    page.fill("#number", "99999")
    page.press("#number", "Enter")
    assert "99999 is not among" in page.inner_text("#no-such")


def test_two_models_are_compared(page: Page) -> None:
    page.locator("#compare").scroll_into_view_if_needed()
    page.locator("#map-first svg").wait_for()
    page.select_option("#compare-first", "mlp")
    page.select_option("#compare-second", "lenet")
    page.locator("#compare-radius").fill("1")
    assert page.inner_text("#compare-radius-is") == "1 px"
    assert page.locator("[data-name=first]").first.inner_text() == "mlp"
    data = "document.getElementById('map-second').chart.view.data('map')"
    cells = page.evaluate(f"{data}.map(({{dx, dy, value}}) => [dx, dy, value])")
    content = page.evaluate("JSON.parse(document.getElementById('content').textContent).metrics.zero.lenet")
    assert [value for _, _, value in cells] == content["maps"]["accuracy"]["value"]
    assert [cells[0][:2], cells[-1][:2]] == [[-2, -2], [2, 2]]
    expected = [100 * content["radii"]["accuracy at the radius"][end][1] for end in ("value", "low", "high")]
    shown = [float(number) for number in re.findall(r"[\d.]+", page.inner_text("#within-second"))]
    assert shown == pytest.approx(expected, abs=0.051)


def test_page_fits_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["reports/index.html"])
def test_page_is_accessible(page: Page, reproduced: Project, scheme: str, name: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto((reproduced.root / name).as_uri())
    page.locator("#map-first").scroll_into_view_if_needed()
    page.locator("#map-first svg").wait_for()
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
