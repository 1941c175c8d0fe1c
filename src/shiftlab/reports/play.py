"""The page to draw on, and the only importer of gradio."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor, nn

from shiftlab.environment import NO_PROXY_AT_ALL, environment
from shiftlab.errors import UserError
from shiftlab.reports import primitives
from shiftlab.reports.blocks import CLASS_COLOURS, address, fill_macro, read_text
from shiftlab.shifts import boundaries
from shiftlab.shifts.inference import probabilities
from shiftlab.shifts.transform import crop_at

Keywords = dict[str, Any]
Pixels = NDArray[np.uint8]
Steps = Mapping[str, Pixels]  # description -> picture, from a photograph to what a model sees

CANVAS = 560  # pixels of the square to draw on
BRUSH = 1.2  # its radius in pixels of what a model sees: as thick as MNIST's strokes
MAX_RADIUS = 14  # pixels either way that a drawing is moved
CHUNK = 120  # shifts that are predicted between two updates of the map
UNKNOWN = (136, 136, 136)  # colour of a shift that is not predicted yet
TOP_CLASSES = 3  # of each model, with their probabilities
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
        return min(MAX_RADIUS, min(self.shape[1:]) // 2)

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
            message = str(error)
            return None, None, f"**{message[0].upper()}{message[1:]}.**", ""
        *_, pixels = steps.values()
        pictures = {description: _address(step) for description, step in steps.items()}
        return source, pixels, "", fill_macro("play.html", "steps", pictures=pictures)

    def show(self, pixels: Pixels | None, dx: int, dy: int) -> list[Any]:
        """Return what models see at a shift, as HTML, and each model's probabilities by class there."""
        if pixels is None:
            return ["", *[None] * len(self.models)]
        shifted = self.shifted(pixels, [(dx, dy)])[0].permute(1, 2, 0).squeeze(2).numpy()
        predicted = [self.predict(name, pixels, [(dx, dy)])[0].tolist() for name in self.models]
        return [
            fill_macro("play.html", "seen", picture=_address(shifted)),
            *[dict(zip(self.classes, of_model, strict=True)) for of_model in predicted],
        ]

    def fill(self, pixels: Pixels | None, dx: int, dy: int) -> Iterator[str]:
        """Yield maps of each model's predictions at every shift, as HTML, again and again until they are complete."""
        if pixels is None:
            yield ""
            return
        reach = self.radius
        shifts = [(dx, dy) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        shifts.sort(key=lambda place: max(map(abs, place)))  # from the middle outwards
        predicted = {name: np.full((2 * reach + 1,) * 2, -1) for name in self.models}
        for first in range(0, len(shifts), CHUNK):
            chunk = shifts[first : first + CHUNK]
            columns, rows = (np.array(chunk) + reach).T
            for name, numbers in predicted.items():
                numbers[rows, columns] = self.predict(name, pixels, chunk).argmax(axis=1)
            yield _maps(predicted, self.classes, (dx, dy))


def serve(demo: Demo, host: str, port: int, open_browser: bool) -> None:
    """Serve the page until it is interrupted; what is uploaded is deleted with it.

    Raises:
        UserError: the port can't be listened on.
    """
    theme = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    looks: Keywords = {"theme": theme, "css": read_text("play.css"), "js": read_text("play.js"), "footer_links": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        server: Keywords = {"server_name": host, "server_port": port, "inbrowser": open_browser, "share": False}
        try:
            with environment(NO_PROXY_AT_ALL):
                blocks = page(demo).queue(default_concurrency_limit=2)
                blocks.launch(**server, **looks, ssr_mode=False, quiet=True, prevent_thread_lock=True)
        except OSError:
            raise UserError(f"port {port} can't be listened on: choose another, as in --port 7861") from None
        print(f"Draw for {', '.join(demo.models)} at http://{host}:{port} until Ctrl-C.", flush=True)
        blocks.block_thread()


def page(demo: Demo) -> gr.Blocks:
    """Return the page; what a visitor draws is known to that visitor's session alone."""
    reach = demo.radius
    blocks = gr.Blocks(title="Draw for networks", analytics_enabled=False, delete_cache=(60, 60))
    with blocks:
        gr.Markdown("# What do they call it where you draw it?\nNothing leaves this machine, and nothing is kept.")
        picture, seen = gr.State(), gr.State()
        with gr.Row():
            with gr.Column(scale=2, min_width=340):
                with gr.Tab("Draw"):
                    sketch = _sketchpad(*demo.shape[1:])
                with gr.Tab("A picture"):
                    upload = gr.File(label="a photograph or drawing, PNG or JPEG", type="filepath", elem_id="upload")
                    clipboard: Keywords = {"sources": ["clipboard"], "type": "pil", "image_mode": None}
                    paste = gr.Image(label="or paste one", elem_id="paste", **clipboard)
                centred = gr.Checkbox(label="centre it as MNIST was centred", elem_id="centre")
                dx = gr.Slider(-reach, reach, 0, step=1, label="dx, pixels to the right", elem_id="dx")
                dy = gr.Slider(-reach, reach, 0, step=1, label="dy, pixels down", elem_id="dy")
            with gr.Column(scale=3, min_width=340):
                message = gr.Markdown(WELCOME, elem_id="message")
                with gr.Row():
                    view = gr.HTML(label="what they see", elem_id="seen")
                with gr.Row():
                    labels = [
                        gr.Label(label=name, num_top_classes=TOP_CLASSES, min_width=150, elem_id=f"answer-{name}")
                        for name in demo.models
                    ]
                maps = gr.HTML(elem_id="maps")
        with gr.Accordion("How a picture becomes what they see", open=False):
            steps = gr.HTML(elem_id="steps")

        place: Keywords = {"inputs": [seen, dx, dy], "show_progress": "hidden"}
        show: Keywords = {"fn": demo.show, "outputs": [view, *labels], **place}
        fill: Keywords = {"fn": demo.fill, "outputs": maps, **place}
        opened = [picture, seen, message, steps]
        sources = [(sketch.change, sketch), (upload.change, upload), (paste.change, paste), (centred.input, picture)]
        for event, source in sources:
            new = event(demo.open, [source, centred], opened, show_progress="hidden", trigger_mode="always_last")
            new.then(**show).then(**fill)
        for slider in (dx, dy):
            slider.change(**show, trigger_mode="always_last").then(**fill)
    return blocks


def _sketchpad(height: int, width: int) -> gr.Sketchpad:
    brush = gr.Brush(default_size=round(BRUSH * CANVAS / max(height, width)), colors=["#000000"], color_mode="fixed")
    canvas: Keywords = {"height": f"min({CANVAS}px, 110vw)", "canvas_size": (CANVAS, CANVAS * height // width)}
    options: Keywords = {"type": "pil", "fixed_canvas": True, "layers": False, "transforms": (), "brush": brush}
    return gr.Sketchpad(label="draw here", elem_id="sketch", **canvas, **options)


def _maps(predicted: Mapping[str, NDArray[np.int_]], classes: Sequence[str], shift: tuple[int, int]) -> str:
    """Return maps of each model's predicted classes, `(D, D)`, -1 where unknown, as HTML, with the present shift."""
    numbers = np.stack(list(predicted.values()))
    colours = np.array([*map(ImageColor.getrgb, CLASS_COLOURS), UNKNOWN], dtype=np.uint8)
    pixels = colours[np.where(numbers < 0, -1, numbers % len(CLASS_COLOURS))]
    side = numbers.shape[1]
    return fill_macro(
        "play.html",
        "maps",
        pictures=dict(zip(predicted, map(_address, pixels), strict=True)),
        busy=bool((numbers < 0).any()),
        cell=100 / side,
        place=[100 / side * (step + side // 2) for step in shift],
        legend=[(CLASS_COLOURS[n % len(CLASS_COLOURS)], classes[n]) for n in np.unique(numbers).tolist() if n >= 0],
    )


def _address(pixels: Pixels) -> str:
    return address(primitives.png(pixels))
