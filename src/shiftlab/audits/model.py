"""A user's model of any format: raw images in, one row of logits for each image out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import OutputType, PreprocessingHints
from shiftlab.errors import UserError

MOST_OUTPUTS = 65_536  # numbers of classes are kept in two bytes
CLOSE = 2**-7  # bfloat16's precision: how far from 1 a sum of probabilities may be, at least


@dataclass(frozen=True)
class Model:
    """A model as every adapter returns it."""

    name: str
    kind: str  # the format
    outputs: Callable[[Tensor], object]  # of preprocessed inputs of `dtype`: as the model returns them
    hints: PreprocessingHints = field(default_factory=PreprocessingHints)
    digest: str = ""  # SHA-256 of its file or weights
    classes: tuple[str, ...] | None = None  # names of its outputs
    batch: int | None = None  # images that it takes at a time; None: any number
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()  # what a reader of its results should know
    integers: bool = False  # may it refuse raw pixels that are no whole numbers, as those between two pixels?
    dtype: torch.dtype = torch.float32  # of its inputs
    output_type: OutputType | None = None  # None: what its first outputs look like
    source: Mapping[str, Any] = field(default_factory=dict)  # weights and constructor arguments, in JSON's types


class PreprocessedModel(nn.Module):
    """A model with its preprocessing in front: a module of raw images."""

    def __init__(self, model: Model, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model, self.preprocessing, self.output_type = model, preprocessing, model.output_type
        if model.module is not None:
            self.module = model.module  # so that it moves to a device with this

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 `(N, outputs)`, of raw images `(N, C, h, w)` in 0..255."""
        if (self.model.integers and self.preprocessing.raw) or not self.model.dtype.is_floating_point:
            images = images.round()
        batch = self.model.batch or len(images)
        rows = torch.cat([self._rows(part, batch) for part in images.split(batch)])
        _refuse_rows(rows, self.model.name)
        self.output_type = self.output_type or output_type(rows)
        return as_logits(rows, self.output_type, self.model.name)

    def _rows(self, images: Tensor, batch: int) -> Tensor:
        inputs = as_type(self.preprocessing(images), self.model.dtype, self.model.name)
        missing = batch - len(images)
        if missing:
            inputs = pad(inputs, (0, 0) * (inputs.ndim - 1) + (0, missing))
        try:
            outputs = self.model.outputs(inputs)
        except UserError:
            raise
        except Exception as error:  # whatever a stranger's code raises
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            shape = "x".join(map(str, inputs.shape))
            raise UserError(
                f"{self.model.name} fails on {type_name(inputs.dtype)} inputs of {shape} ({reason}): check --crop, "
                "--channels, --layout"
            ) from error
        return unpack(outputs, len(inputs), self.model.name)[: len(images)].to(images.device, torch.float32)


def type_name(dtype: torch.dtype) -> str:
    """Return a type's name: `float32`."""
    return str(dtype).removeprefix("torch.")


def as_type(inputs: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Convert inputs to a model's type. UserError: it is one of whole numbers, in which they would change."""
    if not dtype.is_floating_point:
        low, high, limits = inputs.min(), inputs.max(), torch.iinfo(dtype)
        if not inputs.equal(inputs.round()) or low < limits.min or high > limits.max:
            raise UserError(
                f"{name} takes whole numbers of type {type_name(dtype)}, and its inputs go from {low:.4g} to "
                f"{high:.4g} as they are prepared: give --range 255 --mean 0 --std 1, or another whole --mean"
            )
    return inputs.to(dtype)


def unpack(outputs: object, images: int, name: str) -> Tensor:
    """Return one row for each image, `(images, K)`: a tensor or array, or the only one inside a tuple or dictionary."""
    candidates = [outputs]
    if isinstance(outputs, Mapping):
        named = [outputs[key] for key in ("logits", "probabilities", "predictions") if key in outputs]
        candidates = named[:1] or list(outputs.values())
    elif hasattr(outputs, "logits"):
        candidates = [outputs.logits]
    elif isinstance(outputs, tuple | list):
        candidates = list(outputs)
    tensors = [tensor for tensor in map(_as_tensor, candidates) if tensor is not None]
    rows = [tensor for tensor in tensors if tensor.ndim == 2 and len(tensor) == images]
    if not rows and isinstance(outputs, list) and (table := _as_tensor(outputs)) is not None:
        rows = [table] if table.ndim == 2 and len(table) == images else []
    shapes = {tuple(tensor.shape) for tensor in rows}
    if len(shapes) != 1 or (len(rows) > 1 and isinstance(outputs, Mapping)):
        described = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "nothing"
        raise UserError(
            f"{name} gives {described} for {images} images: it must give one row of logits or probabilities for each "
            f"image, ({images}, classes)"
        )
    return rows[0]


def _as_tensor(values: object) -> Tensor | None:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.from_numpy(np.asarray(values, dtype=np.float32))
    except (TypeError, ValueError):
        return None


def _refuse_rows(rows: Tensor, name: str) -> None:
    if not 2 <= rows.shape[1] <= MOST_OUTPUTS:
        raise UserError(f"{name} gives {rows.shape[1]} numbers for each image: a classifier has 2 to {MOST_OUTPUTS:,}")
    if not rows.isfinite().all():
        raise UserError(f"{name} gives numbers that are not finite (NaN or infinite): check its weights and --range")


def output_type(rows: Tensor) -> OutputType:
    """Return what rows `(N, K)` look like: probabilities are at least 0, and sum to 1 within their own precision.

    That is bfloat16's, or half a step for each of K where they are rounded to steps of 1/10 or less: 1/256, 1/100.
    """
    step = min(rows.unique().diff().tolist(), default=1.0)
    close = (rows.sum(1) - 1).abs() <= max(CLOSE, step / 2 * rows.shape[1] if step <= 0.1 + CLOSE else 0)
    return "probabilities" if bool((rows >= 0).all() and (rows <= 1 + CLOSE).all() and close.all()) else "logits"


def as_logits(rows: Tensor, kind: OutputType, name: str) -> Tensor:
    """Return logits as they are, and of probabilities their logarithms; `(N, K)`."""
    if kind == "logits":
        return rows
    if (low := float(rows.min())) < -CLOSE:
        raise UserError(f"{name} gives {low:.4g}, which is no probability: audit it with --outputs logits")
    return rows.clamp_min(torch.finfo(torch.float32).tiny).log()
