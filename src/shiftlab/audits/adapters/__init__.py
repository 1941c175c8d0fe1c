"""The formats of models, a file for each: `load(name, options)` returns the `Model` that a user names."""

import hashlib
import importlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from shiftlab.audits.model import Model, PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import OutputType
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
    weights_key: str | None = None  # which of several sets in that file
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the constructor, or of the user's function
    notes: bool = True  # is what weights do not tell looked for? It takes seconds
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
    if options.weights_key is not None and options.weights is None:
        raise UserError("--weights-key names a set of weights in the file of --weights: give that too")
    if options.arguments and adapter not in ("library", "python"):
        raise UserError(f"--model-args is for timm:NAME, torchvision:NAME and your own functions: {name} takes none")
    model: Model = importlib.import_module(f"{__name__}.{adapter}").load(name, options)
    if not options.arguments:
        return model
    # Answers depend on them, and weights do not hold them.
    arguments = json.dumps(dict(options.arguments), sort_keys=True)
    digest = model.digest and hashlib.sha256(f"{model.digest} {arguments}".encode()).hexdigest()
    return replace(model, digest=digest, source={**model.source, "arguments": json.loads(arguments)})


def remote_loader(
    name: str, options: ModelOptions, preprocessing: Preprocessing, output_type: OutputType | None
) -> Callable[[], PreprocessedModel]:
    """Return a function that loads a model on another machine: pickled with it go the model's files."""
    copies = {file: Path(Path(file).name) for file in (name, name.rpartition(":")[0], str(options.weights or ""))}
    if name.endswith(".onnx"):
        external = importlib.import_module(f"{__name__}.onnx").external_data(Path(name))
        copies |= {str(Path(name).parent / file): file for file in external}
    files = {file: (copy, Path(file).read_bytes()) for file, copy in copies.items() if file and Path(file).is_file()}
    return partial(_load_from, files, name, options, preprocessing, output_type)


def _load_from(
    files: Mapping[str, tuple[Path, bytes]],
    name: str,
    options: ModelOptions,
    preprocessing: Preprocessing,
    output_type: OutputType | None,
) -> PreprocessedModel:
    """Return a model in evaluation mode, from the places and contents of its files by what the user calls them."""
    with tempfile.TemporaryDirectory() as folder:
        copies = {file: Path(folder, copy) for file, (copy, _) in files.items()}
        for file, (_, content) in files.items():
            copies[file].parent.mkdir(parents=True, exist_ok=True)
            copies[file].write_bytes(content)
        code, _, function = name.rpartition(":")
        address = f"{copies[code]}:{function}" if code in copies else str(copies.get(name, name))
        model = load(address, replace(options, weights=copies.get(str(options.weights), options.weights), notes=False))
    return PreprocessedModel(replace(model, name=name, output_type=output_type), preprocessing).eval()
