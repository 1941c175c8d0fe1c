"""A model of the user's: whatever it is, raw images go in and one row of logits an image comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shiftlab.audits.preprocessing import Preprocessing, PreprocessingHints
from shiftlab.errors import UserError

MOST_OUTPUTS = 65_536  # numbers of classes are kept in two bytes
CLOSE = 1e-3  # of 1, the sum of what are taken for probabilities
TRIED = 4  # images that are answered twice, to see whether that gives the same


@dataclass(frozen=True)
class Model:
    """What an adapter makes of a model."""

    name: str
    kind: str  # the format
    outputs: Callable[[Tensor], object]  # of prepared inputs, float32: as the model gives them
    carried: PreprocessingHints = field(default_factory=PreprocessingHints)
    digest: str = ""  # SHA-256 of its file or weights
    classes: tuple[str, ...] | None = None  # names of its outputs
    batch: int | None = None  # images that it takes at a time; None: any number
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()  # what a reader of its results should know
    whole: bool = False  # may it refuse raw pixels that are no whole numbers, as those between two pixels?


class PreprocessedModel(nn.Module):
    """A model with its preprocessing in front, as `shiftlab.measure` wants it.

    Args:
        model: where it gives probabilities, their logarithms are its logits.
    """

    def __init__(self, model: Model, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing
        if model.module is not None:
            self.module = model.module  # so that it moves to a device with this

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 `(N, outputs)`, of raw images `(N, C, h, w)` in 0..255.

        Raises:
            UserError: the model fails, or gives something else than finite numbers, a row for each image.
        """
        if self.model.whole and self.preprocessing.raw:
            images = images.round()
        batch = self.model.batch or len(images)
        return torch.cat([self._answer(some, batch) for some in images.split(batch)])

    def _answer(self, images: Tensor, batch: int) -> Tensor:
        inputs = self.preprocessing(images)
        missing = batch - len(images)
        if missing:
            inputs = pad(inputs, (0, 0) * (inputs.ndim - 1) + (0, missing))
        try:
            found = self.model.outputs(inputs)
        except UserError:
            raise
        except Exception as error:  # whatever a stranger's code raises
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            shape = "x".join(map(str, inputs.shape))
            raise UserError(
                f"{self.model.name} fails on float32 inputs of {shape} ({reason}): check --crop, --channels, --layout"
            ) from error
        rows = unpacked(found, len(inputs), self.model.name)[: len(images)]
        return as_logits(rows.to(images.device, torch.float32), self.model.name)


def unpacked(found: object, images: int, name: str) -> Tensor:
    """One row an image, `(images, K)`, of what a model gives: a tensor or array, or one inside a tuple or dictionary.

    Raises:
        UserError: there is none, or more than one that might be meant.
    """
    candidates = [found]
    if isinstance(found, Mapping):
        named = [found[key] for key in ("logits", "probabilities", "predictions") if key in found]
        candidates = named[:1] or list(found.values())
    elif not isinstance(found, Tensor | np.ndarray) and hasattr(found, "logits"):
        candidates = [found.logits]
    elif isinstance(found, tuple | list) and not isinstance(found, np.ndarray):
        candidates = list(found)
    rows = [one for one in map(_rows, candidates) if one is not None and one.ndim == 2 and len(one) == images]
    if isinstance(found, list) and not rows:
        whole = _rows(found)
        rows = [whole] if whole is not None and whole.ndim == 2 and len(whole) == images else []
    distinct = {tuple(one.shape) for one in rows}
    if not rows or (len(rows) > 1 and isinstance(found, Mapping)) or len(distinct) > 1:
        shapes = ", ".join(str(tuple(one.shape)) for one in map(_rows, candidates) if one is not None) or "nothing"
        raise UserError(
            f"{name} gives {shapes} for {images} images: it must give one row of logits or probabilities for each "
            f"image, ({images}, classes)"
        )
    return rows[0]


def _rows(found: object) -> Tensor | None:
    if isinstance(found, Tensor):
        return found.detach()
    try:
        return torch.from_numpy(np.asarray(found, dtype=np.float32))
    except (TypeError, ValueError):
        return None


def as_logits(rows: Tensor, name: str) -> Tensor:
    """Rows of logits as they are, of probabilities their logarithms; `(N, K)`.

    Raises:
        UserError: they are not finite, or too few or too many to choose among.
    """
    if not 2 <= rows.shape[1] <= MOST_OUTPUTS:
        raise UserError(f"{name} gives {rows.shape[1]} numbers for each image: a classifier has 2 to {MOST_OUTPUTS:,}")
    if not rows.isfinite().all():
        raise UserError(f"{name} gives numbers that are not finite (NaN or infinite): check its weights and --range")
    if (rows >= 0).all() and ((rows.sum(1) - 1).abs() < CLOSE).all():
        return rows.clamp_min(torch.finfo(torch.float32).tiny).log()
    return rows


def is_random(prepared: PreprocessedModel, images: Tensor) -> bool:
    """Do a few raw images get other logits when they are asked again?"""
    with torch.inference_mode():
        first, again = (prepared(images[:TRIED]) for _ in range(2))
    return not torch.allclose(first, again, rtol=1e-4, atol=1e-5)
