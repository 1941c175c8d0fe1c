"""The page to draw on, and the only importer of gradio."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shiftlab.errors import UserError
from shiftlab.reports import primitives
from shiftlab.reports.blocks import address
from shiftlab.reports.explorer import PALETTE
from shiftlab.shifts import boundaries
from shiftlab.shifts.inference import probabilities
from shiftlab.shifts.transform import crop_at

Keywords = dict[str, Any]
Pixels = NDArray[np.uint8]
Steps = Mapping[str, Pixels]  # from a picture to what a model sees, in words; the last is that

CANVAS = 560  # pixels of the square to draw on
BRUSH = 1.2  # its radius in pixels of what a model sees: as thick as MNIST's strokes
MOST = 14  # pixels either way that a drawing is moved
CHUNK = 120  # shifts that are answered between two looks at the map
SHOWN = 3  # classes of each model with their probabilities
STYLE = """
footer {display: none !important}
.min_value, .max_value {color: var(--body-text-color) !important} /* gradio's greys are too pale to read */
button[role=tab].selected {color: var(--primary-700) !important}
.dark button[role=tab].selected {color: var(--primary-300) !important}
.maps {display: flex; flex-wrap: wrap; gap: 1rem} .maps figure {margin: 0}
.maps img, .seen img {image-rendering: pixelated; width: 203px; display: block; background: #888}
.steps figure {width: 160px} .steps img {width: 100%}
.maps div {position: relative} .maps i {position: absolute; border: 2px solid #000; outline: 2px solid #fff}
.legend span {margin-right: .8rem; white-space: nowrap}
.legend i {display: inline-block; width: .9em; height: .9em; margin-right: .3em; border: 1px solid #888}
"""
# The brush in the visitor's hand from the start, which gradio leaves to be picked up.
TAKE_BRUSH = """() => {
  const waiting = setInterval(() => {
    const brush = document.querySelector('#sketch button[aria-label="Brush"]');
    if (brush) { brush.click(); clearInterval(waiting); }
  }, 100);
}"""
WELCOME = "Draw anywhere on the sheet, or give a picture."


@dataclass(frozen=True)
class Demo:
    """The models that a visitor draws for, and how a picture becomes what they see."""

    models: Mapping[str, nn.Module]  # raw images in, logits out
    classes: Sequence[str]
    shape: tuple[int, int, int]  # of what they see: channels, height, width
    prepare: Callable[[Image.Image, bool], Steps]  # a picture, and is it to be centred?
    read: Callable[[Path], Image.Image]

    @property
    def radius(self) -> int:
        """Pixels either way that a drawing is moved."""
        return min(MOST, min(self.shape[1:]) // 2)

    def shifted(self, pixels: Pixels, shifts: Sequence[tuple[int, int]]) -> Tensor:
        """Return what models see, `(H, W)` or `(H, W, 3)`, at each shift, `(S, C, H, W)`; vacated pixels black."""
        image = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).copy())
        padded = boundaries.get("zero").pad(image.unsqueeze(0), self.radius)
        return torch.cat([crop_at(padded, self.radius, dx, dy) for dx, dy in shifts])

    def predict(self, model: str, pixels: Pixels, shifts: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Return a model's class probabilities at each shift, `(S, K)`."""
        predicted: NDArray[np.float32] = probabilities(self.models[model], self.shifted(pixels, shifts)).numpy()
        return predicted

    def open(self, source: Any, centre: bool) -> tuple[Any, ...]:
        """Return, of a sketch, a path or a picture: the picture, what models see, a message, the steps as HTML."""
        try:
            if isinstance(source, dict):
                sheet = source["composite"]
                source = sheet if sheet is not None and np.asarray(sheet.getchannel("A")).any() else None
            elif isinstance(source, str):
                source = self.read(Path(source))
            if source is None:
                return None, None, WELCOME, ""
            steps = self.prepare(source, centre)
        except UserError as error:
            words = str(error)
            return None, None, f"**{words[0].upper()}{words[1:]}.**", ""
        *_, pixels = steps.values()
        figures = (_figure(_image(step, words), words) for words, step in steps.items())
        return source, pixels, "", f'<div class="maps steps">{"".join(figures)}</div>'

    def show(self, pixels: Pixels | None, dx: int, dy: int) -> list[Any]:
        """Return what models see at a shift, as HTML, and each model's probabilities by class there."""
        if pixels is None:
            return ["", *[None] * len(self.models)]
        shifted = self.shifted(pixels, [(dx, dy)])[0].permute(1, 2, 0).squeeze(2).numpy()
        predicted = [self.predict(name, pixels, [(dx, dy)])[0].tolist() for name in self.models]
        return [
            f'<div class="seen">{_image(shifted, "what the models see")}</div>',
            *[dict(zip(self.classes, of_model, strict=True)) for of_model in predicted],
        ]

    def fill(self, pixels: Pixels | None, dx: int, dy: int) -> Iterator[str]:
        """Yield maps of each model's answers at every shift, as HTML, again and again until they are complete."""
        if pixels is None:
            yield ""
            return
        reach = self.radius
        shifts = [(dx, dy) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        shifts.sort(key=lambda place: max(map(abs, place)))  # from the middle outwards
        answers = {name: np.full((2 * reach + 1,) * 2, -1) for name in self.models}
        for first in range(0, len(shifts), CHUNK):
            chunk = shifts[first : first + CHUNK]
            columns, rows = (np.array(chunk) + reach).T
            for name, numbers in answers.items():
                numbers[rows, columns] = self.predict(name, pixels, chunk).argmax(axis=1)
            yield _maps(answers, self.classes, (dx, dy))


def serve(demo: Demo, host: str, port: int, open_browser: bool) -> None:
    """Serve the page until it is interrupted; what is uploaded is deleted with it.

    Raises:
        UserError: the port can't be listened on.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        try:
            blocks = page(demo).queue(default_concurrency_limit=2)
            blocks.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                theme=gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=STYLE,
                js=TAKE_BRUSH,
                ssr_mode=False,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError:
            raise UserError(f"port {port} can't be listened on: choose another, as in --port 7861") from None
        print(f"Draw for {', '.join(demo.models)} at http://{host}:{port} until Ctrl-C.", flush=True)
        blocks.block_thread()


def page(demo: Demo) -> gr.Blocks:
    """Return the page; what a visitor draws is known to that visitor's session alone."""
    height, width = demo.shape[1:]
    unit = CANVAS / max(height, width)
    reach = demo.radius
    with gr.Blocks(title="Draw for networks", analytics_enabled=False, delete_cache=(60, 60)) as blocks:
        gr.Markdown("# What do they call it where you draw it?\nNothing leaves this machine, and nothing is kept.")
        picture, seen = gr.State(), gr.State()
        with gr.Row():
            with gr.Column(scale=2, min_width=340):
                with gr.Tab("Draw"):
                    sketch = gr.Sketchpad(
                        label="draw here",
                        type="pil",
                        height=f"min({CANVAS}px, 110vw)",
                        canvas_size=(CANVAS, CANVAS * height // width),
                        fixed_canvas=True,
                        layers=False,
                        transforms=(),
                        brush=gr.Brush(default_size=round(BRUSH * unit), colors=["#000000"], color_mode="fixed"),
                        elem_id="sketch",
                    )
                with gr.Tab("A picture"):
                    upload = gr.File(label="a photograph or drawing, PNG or JPEG", type="filepath", elem_id="upload")
                    paste = gr.Image(
                        label="or paste one", sources=["clipboard"], type="pil", image_mode=None, elem_id="paste"
                    )
                centred = gr.Checkbox(label="centre it as MNIST was centred", elem_id="centre")
                dx = gr.Slider(-reach, reach, 0, step=1, label="dx, pixels to the right", elem_id="dx")
                dy = gr.Slider(-reach, reach, 0, step=1, label="dy, pixels down", elem_id="dy")
            with gr.Column(scale=3, min_width=340):
                message = gr.Markdown(WELCOME, elem_id="message")
                with gr.Row():
                    shown = gr.HTML(label="what they see", elem_id="seen")
                with gr.Row():
                    labels = [
                        gr.Label(label=name, num_top_classes=SHOWN, min_width=150, elem_id=f"answer-{name}")
                        for name in demo.models
                    ]
                maps = gr.HTML(elem_id="maps")
        with gr.Accordion("How a picture becomes what they see", open=False):
            steps = gr.HTML(elem_id="steps")

        new: Keywords = {
            "outputs": [picture, seen, message, steps],
            "show_progress": "hidden",
            "trigger_mode": "always_last",
        }
        look: Keywords = {
            "fn": demo.show,
            "inputs": [seen, dx, dy],
            "outputs": [shown, *labels],
            "show_progress": "hidden",
        }
        fill: Keywords = {"fn": demo.fill, "inputs": [seen, dx, dy], "outputs": maps, "show_progress": "hidden"}
        sources = [(sketch.change, sketch), (upload.change, upload), (paste.change, paste), (centred.input, picture)]
        for event, source in sources:
            event(demo.open, [source, centred], **new).then(**look).then(**fill)
        for slider in (dx, dy):
            slider.change(**look, trigger_mode="always_last").then(**fill)
    made: gr.Blocks = blocks
    return made


def _maps(answers: Mapping[str, NDArray[np.int_]], classes: Sequence[str], here: tuple[int, int]) -> str:
    """Return maps of each model's answers, class numbers `(D, D)`, as HTML, with the place of the present shift."""
    busy = str(any((numbers < 0).any() for numbers in answers.values())).lower()
    predicted = [number for number in np.unique(np.stack(list(answers.values()))).tolist() if number >= 0]
    colours = {number: PALETTE[number % len(PALETTE)] for number in predicted}
    figures = []
    for name, numbers in answers.items():
        side = len(numbers)
        pixels = np.full((side, side, 3), 136, dtype=np.uint8)
        for number, colour in colours.items():
            pixels[numbers == number] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        cell = 100 / side
        left, top = (cell * (where + side // 2) for where in here)
        square = f'<i style="left:{left}%;top:{top}%;width:{cell}%;height:{cell}%"></i>'
        shown = f"<div>{_image(pixels, f'what {name} calls it at every shift')}{square}</div>"
        figures.append(_figure(shown, name, above=True))
    legend = "".join(
        f'<span><i style="background:{colours[number]}"></i>{escape(classes[number])}</span>' for number in predicted
    )
    return (
        "<p>What each calls it at every shift, the square being where it is now:</p>"
        f'<div class="maps" aria-busy="{busy}">{"".join(figures)}</div><p class="legend">{legend}</p>'
    )


def _image(pixels: Pixels, words: str) -> str:
    return f'<img alt="{escape(words)}" src="{address(primitives.png(pixels))}">'


def _figure(content: str, words: str, above: bool = False) -> str:
    caption = f"<figcaption>{escape(words)}</figcaption>"
    return f"<figure>{caption}{content}</figure>" if above else f"<figure>{content}{caption}</figure>"
