"""A .onnx file, run by onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import reading
from shiftlab.audits.preprocessing import hints_of_shape
from shiftlab.errors import UserError, extra

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


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
    names = [output.name for output in session.get_outputs()]

    def outputs(batch: Tensor) -> dict[str, Any]:
        values = session.run(None, {images.name: batch.cpu().numpy().astype(TYPES[images.type], copy=False)})
        return dict(zip(names, values, strict=True)) if len(values) > 1 else {"logits": values[0]}

    count, *sizes = [size if isinstance(size, int) else None for size in images.shape] or [None]
    return Model(path.name, "onnx", outputs, hints_of_shape(sizes), files.sha256(path), batch=count)
