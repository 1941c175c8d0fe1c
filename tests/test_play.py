"""The page to draw on, in a real browser: its answers are those of the champions in Python for the same pixels."""

import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import screenshots
import torch
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from shiftlab.audits import play
from shiftlab.audits.model import PreprocessedModel
from shiftlab.config.audit import PreprocessingHints
from shiftlab.shifts.inference import probabilities
from tests.data.test_drawing import PICTURES
from tests.helpers import run_python
from tests.project import Project
from tests.servers import free_port

needs_browser = pytest.mark.skipif(
    not shutil.which("chromium"), reason="needs Chromium, as from Debian's package chromium"
)


COMMAND = ["-c", "from shiftlab.cli import main; main()", "play"]


@pytest.fixture(scope="module")
def address(reproduced: Project) -> Iterator[str]:
    """The page, served for the champions of a project on the digits."""
    port = free_port()
    command = [sys.executable, *COMMAND, "--no-browser", "--port", str(port)]
    environment = {**reproduced.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{reproduced.root / 'mlflow.db'}"}
    with subprocess.Popen(
        command, cwd=reproduced.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout
        told = []
        for line in server.stdout:
            told.append(line)
            if line.startswith("Draw for"):
                break
        else:
            raise AssertionError("".join(told))
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def models(reproduced: Project) -> dict[str, PreprocessedModel]:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(reproduced.root)
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{reproduced.root / 'mlflow.db'}")
        found, classes, shape = play.load_models(
            ["models:/shiftlab-lenet@champion", "models:/shiftlab-mlp@champion"], PreprocessingHints()
        )
    assert (classes, shape) == (tuple("0123456789"), (1, 28, 28))
    return found


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """The page, from which no request may leave this machine."""
    away: list[str] = []
    with screenshots.browser() as opened:
        opened.on("request", lambda request: away.append(request.url) if leaves(request.url, address) else None)
        opened.goto(address)
        opened.locator("#sketch canvas").first.wait_for()
        expect(opened.locator("#sketch button[aria-label=Erase]")).to_be_visible()
        opened.get_by_text("select the draw tool to start").wait_for(state="detached")
        yield opened
    assert away == []


def leaves(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


def draw(page: Page) -> None:
    """A 7 on the right half of the sheet."""
    box = page.locator("#sketch canvas").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.35)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.35, steps=6)
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.65, steps=6)
    page.mouse.up()


def seen(page: Page) -> NDArray[np.uint8]:
    source = page.locator("#seen img").get_attribute("src")
    assert source
    return np.asarray(Image.open(BytesIO(b64decode(source.partition(",")[2]))))


def answered(page: Page, name: str) -> tuple[str, int]:
    """The class that a model gives, and its probability in %, as the page has them."""
    words = page.locator(f"#answer-{name}").inner_text().split("\n")
    words = [word for word in words if word.strip()]
    (percent,) = [int(word.rstrip("%")) for word in words if word.endswith("%")][:1]
    return words[1], percent


def expect_answers(page: Page, models: dict[str, PreprocessedModel]) -> None:
    pixels = seen(page)
    assert pixels.shape == (28, 28)
    for name, model in models.items():
        (expected,) = probabilities(model, torch.from_numpy(pixels.copy())[None, None])
        called, percent = answered(page, name)
        assert called == str(int(expected.argmax()))
        assert abs(percent - 100 * float(expected.max())) <= 0.51


@needs_browser
def test_drawing_is_answered_as_in_python(page: Page, models: dict[str, PreprocessedModel]) -> None:
    draw(page)
    page.locator("#maps img").first.wait_for()
    pixels = seen(page)
    assert pixels[:, :12].sum() == 0  # it stays where it was drawn
    assert pixels[:, 12:].max() > 200
    expect_answers(page, models)

    before = page.locator("#seen img").get_attribute("src")
    page.locator("#dx input[type=number]").fill("-5")
    page.wait_for_function("before => document.querySelector('#seen img').src !== before", arg=before)
    assert np.array_equal(seen(page)[:, :-5], pixels[:, 5:])
    expect(page.locator("#answer-lenet")).to_be_visible()
    page.wait_for_timeout(500)
    expect_answers(page, models)


@pytest.mark.slow
@needs_browser
def test_map_has_the_answer_at_every_shift(page: Page, models: dict[str, PreprocessedModel]) -> None:
    from shiftlab.reports.blocks import CLASS_COLOURS
    from shiftlab.shifts.transform import shift

    draw(page)
    page.locator(".maps[aria-busy=false]").wait_for()
    source = page.get_by_alt_text("what lenet calls it at every shift").get_attribute("src")
    assert source
    cells = np.asarray(Image.open(BytesIO(b64decode(source.partition(",")[2]))))
    image = torch.from_numpy(seen(page).copy())[None, None]
    for dx, dy in [(0, 0), (-14, -14), (14, 3), (-6, 2), (5, 0), (0, 14)]:
        number = int(probabilities(models["lenet"], shift(image, dx, dy)).argmax())
        assert "#{:02x}{:02x}{:02x}".format(*cells[dy + 14, dx + 14]) == CLASS_COLOURS[number]


@pytest.mark.slow
@needs_browser
def test_pictures_are_taken_or_refused_in_a_sentence(
    page: Page, models: dict[str, PreprocessedModel], tmp_path: Path
) -> None:
    text = tmp_path / "text.png"
    text.write_text("seven")
    vector = tmp_path / "vector.svg"
    vector.write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    empty = tmp_path / "empty.png"
    Image.new("L", (50, 50), 255).save(empty)
    refused = {text: "This is not an image", vector: "This is not an image", empty: "Nothing is drawn here"}
    taken = {}
    for name, picture in PICTURES.items():
        suffix = "jpg" if name in ("a photograph", "large") else "png"
        taken[tmp_path / f"{name}.{suffix}"] = ""
        picture.save(tmp_path / f"{name}.{suffix}")
    page.get_by_role("tab", name="A picture").click()
    for path, sentence in (refused | taken | refused).items():
        page.locator("#upload input[type=file]").set_input_files(path)
        if sentence:
            expect(page.locator("#message")).to_contain_text(sentence)
        else:
            page.locator("#seen img").wait_for()
            expect(page.locator("#message")).not_to_contain_text("picture")
            page.wait_for_timeout(300)
            expect_answers(page, models)
        page.locator("#upload button[aria-label*=lear], #upload button[aria-label*=emove]").first.click()
        expect(page.locator("#message")).to_contain_text("Draw anywhere")


@pytest.mark.slow
@needs_browser
def test_centring_moves_a_drawing_into_the_middle(page: Page, models: dict[str, PreprocessedModel]) -> None:
    draw(page)
    page.locator("#seen img").wait_for()
    before = page.locator("#seen img").get_attribute("src")
    page.get_by_label("centre it as MNIST was centred").check()
    page.wait_for_function("before => document.querySelector('#seen img').src !== before", arg=before)
    columns = np.flatnonzero(seen(page).any(axis=0))
    assert abs((columns[0] + columns[-1]) / 2 - 13.5) < 4
    page.wait_for_timeout(500)
    expect_answers(page, models)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_fits_a_phone(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.reload()
    page.get_by_text("select the draw tool to start").wait_for(state="detached")
    draw(page)
    page.locator(".maps[aria-busy=false]").first.wait_for()
    page.get_by_text("How a picture becomes what they see").click()
    page.locator("#steps img").first.wait_for()
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.slow
@needs_browser
def test_two_people_draw_at_once(page: Page, address: str, models: dict[str, PreprocessedModel]) -> None:
    other = page.context.new_page()
    other.goto(address)
    other.locator("#sketch canvas").first.wait_for()
    other.get_by_text("select the draw tool to start").wait_for(state="detached")
    draw(page)
    page.locator("#seen img").wait_for()
    assert other.locator("#seen img").count() == 0
    draw(other)
    other.locator("#seen img").wait_for()
    for one in (page, other):
        one.wait_for_timeout(500)
        expect_answers(one, models)


def said(project: Project, *arguments: str) -> str:
    """The one sentence that the command ends with."""
    store = f"sqlite:///{project.root / 'mlflow.db'}"
    done = run_python(*COMMAND, "--no-browser", *arguments, cwd=project.root, MLFLOW_TRACKING_URI=store)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return sentence


def test_store_without_a_trained_model_is_told(project: Project) -> None:
    assert "has no trained model yet: `make demo`" in said(project)
    assert "'seven' is no model" in said(project, "seven")


@pytest.mark.slow
def test_port_that_is_taken_is_told(reproduced: Project, address: str) -> None:
    port = re.sub(r"\D", "", address.rpartition(":")[2])
    assert f"port {port} can't be listened on" in said(reproduced, "--port", port)
