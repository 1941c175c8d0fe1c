"""The formats of models, a file for each: `load(name, options)` returns the `Model` that a user names."""

import importlib
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from shiftlab.audits.model import Model, PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.errors import UserError

CPU = torch.device("cpu")
# The pattern of names in each format: the first that fits.
FORMATS = {
    "library": r"(timm|torchvision):.+",
    "mlflow": r"(models|runs):/.+",
    "http": r"https?://.+",
    "onnx": r".+\.onnx",
    "torch_export": r".+\.pt2",
    "shiftlab_weights": r".+\.safetensors",
    "torchscript": r".+\.(pt|pth|ts|torchscript|jit|bin|ckpt|pkl)",
    "python": r".+:\w+",
}


@dataclass(frozen=True)
class ModelOptions:
    """What a model is loaded with, besides its name."""

    weights: Path | None = None  # for timm and torchvision
    trust_pickle: bool = False
    device: torch.device = CPU
    outputs: int | None = None  # how many the architecture is to have
    image: tuple[int, int, int] | None = None  # channels, height, width of the images; None where they differ
    frame: tuple[int, int] | None = None  # height and width of what the model is to see, where the user says so


def load(name: str, options: ModelOptions) -> Model:
    """Return the model that a user names; a sentence refuses what is not there or can't be read."""
    adapter = next((adapter for adapter, pattern in FORMATS.items() if re.fullmatch(pattern, name)), None)
    if adapter is None:
        raise UserError(
            f"{name!r} is no model: give module:function or file.py:function, timm:NAME, torchvision:NAME, a .onnx, "
            ".pt2, .pt (TorchScript) or .safetensors file, models:/NAME@ALIAS or runs:/... of MLflow, or "
            "http://.../invocations"
        )
    if options.weights is not None and adapter != "library":
        raise UserError(f"--weights is for timm:NAME and torchvision:NAME, and {name} brings its own: leave it out")
    model: Model = importlib.import_module(f"{__name__}.{adapter}").load(name, options)
    return model


def remote_loader(name: str, options: ModelOptions, preprocessing: Preprocessing) -> Callable[[], PreprocessedModel]:
    """Return a function that loads a model on another machine: pickled with it go the model's files."""
    names = [name, name.rpartition(":")[0], str(options.weights or "")]
    files = {file: Path(file).read_bytes() for file in names if file and Path(file).is_file()}
    return partial(_load_from, files, name, options, preprocessing)


def _load_from(
    files: Mapping[str, bytes], name: str, options: ModelOptions, preprocessing: Preprocessing
) -> PreprocessedModel:
    """Return a model in evaluation mode, from the contents of its files by what the user calls them."""
    with tempfile.TemporaryDirectory() as folder:
        copies = {file: Path(folder, Path(file).name) for file in files}
        for file, content in files.items():
            copies[file].write_bytes(content)
        code, _, function = name.rpartition(":")
        address = f"{copies[code]}:{function}" if code in copies else str(copies.get(name, name))
        model = load(address, replace(options, weights=copies.get(str(options.weights), options.weights)))
    return PreprocessedModel(replace(model, name=name), preprocessing).eval()
