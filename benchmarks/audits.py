"""What `shiftlab audit` costs beside the forward passes that it can't do without."""

import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from shiftlab.audits import adapters, images
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.audit import Audit, measure
from shiftlab.audits.model import Model, PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import AuditOptions, PreprocessingHints, read

CPU = torch.device("cpu")
RADIUS, SHIFTS = 8, 64
CLASSES = 10
SIDE = 256  # pixels of a file's image


def pictures(folder: Path, count: int) -> None:
    """So many noisy coloured PNG of `CLASSES` classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class {number % CLASSES}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(small).resize((SIDE, SIDE)).save(place)


def audited(model: Model, folder: Path, boundary: str = "crop", shifts: int = SHIFTS, radius: int = RADIUS) -> Audit:
    """All images of a folder, one boundary."""
    files = images.load_images(str(folder))
    values = {"boundaries": [boundary], "radius": radius, "shifts": shifts, "any_accuracy": True}
    preprocessing = Preprocessing.of(model.hints, files.size())
    return measure(model, files, preprocessing, read(AuditOptions, values), CPU)


def harness(count: int, rounds: int) -> tuple[list[float], float]:
    """The share of an audit of timm's ResNet-18 that is no forward pass, in %, in every round; and seconds of one."""
    model = adapters.load("timm:resnet18", ModelOptions(outputs=CLASSES))
    model = replace(model, hints=PreprocessingHints(resize=SIDE).merge(model.hints))  # room for crops
    shares, totals = [], []
    with tempfile.TemporaryDirectory() as name:
        pictures(Path(name), count)
        for _ in range(rounds):
            spent = 0.0

            def timed(inputs: Tensor) -> object:
                nonlocal spent
                begun = time.perf_counter()
                found = model.outputs(inputs)
                spent += time.perf_counter() - begun
                return found

            begun = time.perf_counter()
            found = audited(replace(model, outputs=timed), Path(name))
            found.save(Path(name).parent / f"{Path(name).name}-audit")
            totals.append(time.perf_counter() - begun)
            shares.append(100 * (1 - spent / totals[-1]))
    return shares, median(totals)


def onnx(count: int, rounds: int) -> list[float]:
    """How much longer ONNX answers take through an audit than from onnxruntime itself, for the same batches."""
    import onnxruntime

    module: nn.Module = adapters.load("timm:resnet18", ModelOptions(outputs=CLASSES)).module or nn.Identity()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(name, "model.onnx")
        free = {"x": {0: torch.export.Dim("images")}}
        torch.onnx.export(module, (torch.zeros(2, 3, 224, 224),), path, dynamic_shapes=free, dynamo=True, verbose=False)
        model = adapters.load(str(path), ModelOptions())
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        known = PreprocessingHints(channels="rgb", frame=(224, 224), mean=(0.5,), std=(0.5,)).merge(model.hints)
        prepared = PreprocessedModel(model, Preprocessing.of(known, None))
        raw = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
        ready = prepared.preprocessing(raw).numpy()
        (one,) = session.get_inputs()
        ratios = []
        for number in range(rounds + 1):
            begun = time.perf_counter()
            session.run(None, {one.name: ready})
            between = time.perf_counter()
            with torch.inference_mode():
                prepared(raw)
            ratios.append((time.perf_counter() - between) / (between - begun))
            if number == 0:
                ratios.clear()
    return ratios


def memory(count: int) -> float:
    """By how much an audit of so many images raises a process's peak above that of a few, in GiB."""
    with tempfile.TemporaryDirectory() as name:
        pictures(Path(name), 200)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1, maxtasksperchild=1) as pool:
            idle, peak = pool.apply(_peaks, (name, count))
    return peak - idle


def _peaks(folder: str, count: int) -> tuple[float, float]:
    """Of a small network, so that the images are what takes memory: before, and with, `count` images from the files."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(3 * 16, CLASSES))
    known = ModelOptions(outputs=CLASSES)
    from shiftlab.audits.modules import from_module

    model = from_module(module, "small", "python", known)
    whole = images.load_images(folder)
    assert whole.labels is not None
    numbers = np.arange(count) % len(whole)
    many = replace(whole, numbers=numbers, labels=whole.labels[numbers])
    prepared = Preprocessing(frame=(224, 224), channels="rgb", mean=(0.5,), std=(0.5,))
    options = AuditOptions(boundaries=("crop",), radius=5, shifts=16, any_accuracy=True)
    measure(model, whole.sample(50, 0), prepared, options, CPU)
    before = _peak()
    measure(model, many, prepared, options, CPU)
    return before, _peak()


def _peak() -> float:
    scale = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def lines(quick: bool) -> Iterator[tuple[str, str, list[float], str]]:
    """What, in words; the measured thing; values by round; the goal."""
    count, rounds = (16, 1) if quick else (200, 1)
    shares, total = harness(count, rounds)
    yield (
        f"an audit without its forward passes (timm's ResNet-18, {count} images), in %",
        f"{total:.0f} s",
        shares,
        "at most 5",
    )
    yield "ONNX through an audit, in times of onnxruntime's own", "", onnx(16, 3 if quick else 7), "at most 1.1"
    images_streamed = 500 if quick else 5_000
    grown = memory(images_streamed)
    yield (
        f"memory of an audit of {images_streamed:,} images above the model's, in GiB",
        f"{grown:.2f} GiB",
        [grown],
        "at most 2",
    )
