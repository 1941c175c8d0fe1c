"""How long one waits for the report in a browser, and for the map of one's own drawing."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from shiftlab.reports.names import model_name

REPORT = Path("docs/report/index.html")  # the committed copy
GREY, CLASSES = (1, 28, 28), 10
STEPS = 60
# From a key that moves the image until the frame that shows it has been drawn, in ms.
DRAGGED = """async steps => {
  const box = document.getElementById('frame'), taken = [];
  const drawn = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  for (let step = 0; step < steps; step++) {
    await drawn();
    const begun = performance.now();
    box.dispatchEvent(new KeyboardEvent('keydown', {key: step % 2 ? 'ArrowLeft' : 'ArrowRight'}));
    await drawn();
    taken.push(performance.now() - begun);
  }
  return taken;
}"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def in_the_browser(rounds: int) -> tuple[list[float], list[float]]:
    """First paint, and a step of dragging (the median of many), in ms, in every round."""
    sys.path.append("scripts")
    from screenshots import browser

    paints, steps = [], []
    for _ in range(rounds):
        with browser() as page:
            page.goto(REPORT.resolve().as_uri())
            page.locator("[data-answers] svg").last.wait_for()
            page.wait_for_timeout(1000)
            paints.append(float(page.evaluate(PAINTED)))
            steps.append(median(page.evaluate(DRAGGED, STEPS)))
    return paints, steps


def mapped(name: str, rounds: int) -> list[float]:
    """Seconds until the map of a drawing's 841 answers is full, in every round."""
    from shiftlab.models import architectures
    from shiftlab.networks.fast import fuse
    from shiftlab.reports import play

    model = fuse(architectures.build(name, GREY, CLASSES).eval(), GREY)
    demo = play.Demo({name: model}, tuple(map(str, range(CLASSES))), GREY, lambda *_: {}, Image.open)
    drawing = np.random.default_rng(0).integers(0, 256, GREY[1:], dtype=np.uint8)
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for _ in demo.fill(drawing, 0, 0):
            pass
        taken.append(time.perf_counter() - begun)
    return taken[1:]


def rows(rounds: int) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the table: what, nothing, the median of the rounds."""
    paints, steps = in_the_browser(rounds)
    yield "the report's first paint in Chromium", "", f"{median(paints):.0f} ms"
    yield "a step of dragging an image in it", "", f"{median(steps):.0f} ms"
    for name in ("lenet", "resnet"):
        yield f"the map of one's own drawing: {model_name(name)}", "", f"{1000 * median(mapped(name, rounds)):.0f} ms"
