"""A .onnx file, run by onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shiftlab import files
from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.preprocessing import of_shape
from shiftlab.errors import UserError, extra

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def load(what: str, given: Given) -> Model:
    """The file's graph, on the CPU, or on CUDA where that is the device and onnxruntime has it.

    Raises:
        UserError: no such file, or not ONNX; it takes something else than one batch of images.
    """
    with extra("onnx"):
        import onnxruntime
    path = Path(what)
    if not path.is_file():
        raise UserError(f"no file at {path}: name the model's file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if given.device.type == "cuda" else []
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own, which share no base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be read as ONNX ({reason[:200]})") from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        raise UserError(
            f"{path} takes {', '.join(f'{one.name} of {one.type}' for one in inputs)}: it must take one batch of images"
        )
    (images,) = inputs
    kind = TYPES[images.type]

    def outputs(batch: Tensor) -> dict[str, Any]:
        found = session.run(None, {images.name: batch.cpu().numpy().astype(kind, copy=False)})
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, found, strict=True)) if len(found) > 1 else {"logits": found[0]}

    sizes = [size if isinstance(size, int) else None for size in images.shape]
    digest = files.sha256(path)
    return Model(path.name, "onnx", outputs, of_shape(sizes[1:]), digest, batch=sizes[0])
