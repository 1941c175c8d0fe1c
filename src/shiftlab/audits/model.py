"""A user's model of any format: raw images in, one row of logits for each image out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import PreprocessingHints
from shiftlab.errors import UserError

MOST_OUTPUTS = 65_536  # numbers of classes are kept in two bytes
CLOSE = 1e-3  # of 1, the sum of what are taken for probabilities


@dataclass(frozen=True)
class Model:
    """A model as every adapter returns it."""

    name: str
    kind: str  # the format
    outputs: Callable[[Tensor], object]  # of preprocessed inputs, float32: as the model returns them
    hints: PreprocessingHints = field(default_factory=PreprocessingHints)
    digest: str = ""  # SHA-256 of its file or weights
    classes: tuple[str, ...] | None = None  # names of its outputs
    batch: int | None = None  # images that it takes at a time; None: any number
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()  # what a reader of its results should know
    integers: bool = False  # may it refuse raw pixels that are no whole numbers, as those between two pixels?


class PreprocessedModel(nn.Module):
    """A model with its preprocessing in front: a module of raw images."""

    def __init__(self, model: Model, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing
        if model.module is not None:
            self.module = model.module  # so that it moves to a device with this

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 `(N, outputs)`, of raw images `(N, C, h, w)` in 0..255."""
        if self.model.integers and self.preprocessing.raw:
            images = images.round()
        batch = self.model.batch or len(images)
        return torch.cat([self._logits(part, batch) for part in images.split(batch)])

    def _logits(self, images: Tensor, batch: int) -> Tensor:
        inputs = self.preprocessing(images)
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
                f"{self.model.name} fails on float32 inputs of {shape} ({reason}): check --crop, --channels, --layout"
            ) from error
        rows = unpack(outputs, len(inputs), self.model.name)[: len(images)]
        return as_logits(rows.to(images.device, torch.float32), self.model.name)


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


def as_logits(rows: Tensor, name: str) -> Tensor:
    """Return logits as they are, and of probabilities their logarithms; `(N, K)`."""
    if not 2 <= rows.shape[1] <= MOST_OUTPUTS:
        raise UserError(f"{name} gives {rows.shape[1]} numbers for each image: a classifier has 2 to {MOST_OUTPUTS:,}")
    if not rows.isfinite().all():
        raise UserError(f"{name} gives numbers that are not finite (NaN or infinite): check its weights and --range")
    if (rows >= 0).all() and ((rows.sum(1) - 1).abs() < CLOSE).all():
        return rows.clamp_min(torch.finfo(torch.float32).tiny).log()
    return rows
