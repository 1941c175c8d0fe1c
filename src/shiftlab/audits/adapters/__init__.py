"""The formats of models, a file for each: `load(name, options)` returns the `Model` that a user names."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from shiftlab.audits.model import Model
from shiftlab.errors import UserError

CPU = torch.device("cpu")
# The pattern of names in each format: the first that fits.
FORMATS = {
    "timm": r"timm:.+",
    "torchvision": r"torchvision:.+",
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
    if options.weights is not None and adapter not in ("timm", "torchvision"):
        raise UserError(f"--weights is for timm:NAME and torchvision:NAME, and {name} brings its own: leave it out")
    model: Model = importlib.import_module(f"{__name__}.{adapter}").load(name, options)
    return model
