"""A .onnx file, run by onnxruntime."""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import reading
from shiftlab.audits.preprocessing import hints_of_inputs
from shiftlab.config.audit import place
from shiftlab.errors import UserError, extra

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    **{f"tensor({name})": getattr(torch, name) for name in ("uint8", "int8", "uint16", "int16", "int32", "int64")},
}
# The name of a file that holds some of the weights: the entry `location` of a tensor's external data, in protobuf's
# bytes; the length of the name stands before it.
LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]*[\x00-\x7f])")


def load(name: str, options: ModelOptions) -> Model:
    """Return the file's graph, on the CPU, or on CUDA where that is the device and onnxruntime has it."""
    with extra("onnx"):
        import onnxruntime
    path = Path(name)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    preferred = ["CUDAExecutionProvider"] if options.device.type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [provider for provider in (*preferred, "CPUExecutionProvider") if provider in available]
    with reading(path, "ONNX"):
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        described = ", ".join(f"{tensor.name} of {tensor.type}" for tensor in inputs)
        raise UserError(f"{path} takes {described}: it must take one batch of images")
    (images,) = inputs
    names, dtype = [output.name for output in session.get_outputs()], TYPES[images.type]

    def outputs(batch: Tensor) -> dict[str, Any]:
        values = session.run(None, {images.name: batch.cpu().numpy()})
        return dict(zip(names, values, strict=True)) if len(values) > 1 else {"logits": values[0]}

    count, *sizes = [size if isinstance(size, int) else None for size in images.shape] or [None]
    hints = hints_of_inputs(sizes, dtype)
    return Model(place(path), "onnx", outputs, hints, _digest(path), batch=count, dtype=dtype)


def external_data(path: Path) -> list[Path]:
    """Return the files beside a .onnx file that hold weights of its graph, from its folder on, sorted."""
    content, names = path.read_bytes(), set()
    for match in LOCATION.finditer(content):
        length = sum((byte & 127) << 7 * place for place, byte in enumerate(match[1]))
        names.add(Path(content[match.end() : match.end() + length].decode(errors="replace")))
    return sorted(name for name in names if (path.parent / name).is_file())


def _digest(path: Path) -> str:
    """Return the SHA-256 of a .onnx file, or of the digests of that and of its external data."""
    digests = [files.sha256(file) for file in (path, *(path.parent / name for name in external_data(path)))]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if len(digests) > 1 else digests[0]
