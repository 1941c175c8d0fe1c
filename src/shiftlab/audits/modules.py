"""PyTorch's modules as models: put into evaluation mode, on the device, with their weights' digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from shiftlab.audits.model import Model
from shiftlab.audits.preprocessing import PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.models.classifier import Classifier

if TYPE_CHECKING:
    from shiftlab.audits.adapters import Given

# Ours takes raw pixels and normalises them itself.
CLASSIFIER_HINTS = PreprocessingHints(white=255, mean=(0.0,), std=(1.0,), layout="nchw")


def of_module(
    module: nn.Module,
    name: str,
    kind: str,
    given: Given,
    carried: PreprocessingHints | None = None,
    classes: tuple[str, ...] | None = None,
) -> Model:
    """The module as a model."""
    digest = digest_of(module.state_dict())
    try:
        notes = ("it came in training mode and was put into evaluation mode",) if module.training else ()
        module = module.eval().to(given.device)
    except NotImplementedError:  # an exported program's, which is as it was exported
        return Model(name, kind, module.to(given.device), carried or PreprocessingHints(), digest, classes)
    if carried is None:
        carried = CLASSIFIER_HINTS if isinstance(module, Classifier) else PreprocessingHints()
    return Model(name, kind, module, carried, digest, classes, module=module, notes=notes)


@contextmanager
def modes_kept(model: object) -> Iterator[None]:
    """Put each part of a module back into the mode it was in, training or evaluation: its owner may go on training."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [part.training for part in parts]
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def device_of(module: nn.Module) -> torch.device:
    """Where its weights are; the CPU where it has none."""
    return next((weights.device for weights in module.parameters()), torch.device("cpu"))


def digest_of(weights: Mapping[str, object]) -> str:
    """SHA-256 of a state dict: names, types, shapes and values, in the order of names."""
    found = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key]
        found.update(key.encode())
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            found.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
            found.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return found.hexdigest()


def read_weights(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    """A state dict from safetensors, or from what `torch.save` wrote; it may lie below `state_dict` or `model`.

    Raises:
        UserError: no such file, or not weights; a pickle of anything else, which could run code, unless trusted.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: name a .safetensors file, or a state dict that torch.save wrote")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except SafetensorError as error:
        raise UserError(f"{path} does not hold weights in safetensors' format ({error})") from None
    except Exception as error:
        raise UserError(refusal(path, error)) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if isinstance(found, nn.Module):
        found = found.state_dict()
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(
            f"{path} holds {type(found).__name__}, not a state dict: write it with torch.save(model.state_dict())"
        )
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def refusal(path: Path, error: Exception) -> str:
    """Why a file of torch.save is not read, and what to do."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path} is a pickle that holds more than tensors, which could run any code ({reason[:200]}): convert it where "
        "you trust it, with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') or "
        "torch.export.save(...), or read it as it is with --trust-pickle"
    )


def of_library(
    module: nn.Module,
    name: str,
    kind: str,
    given: Given,
    carried: PreprocessingHints,
    classes: tuple[str, ...] | None = None,
) -> Model:
    """A library's architecture with the weights that are given; without any, untrained, which the notes say.

    Raises:
        UserError: as `read_weights`; they do not fit.
    """
    if given.weights:
        try:
            module.load_state_dict(read_weights(given.weights, given.trust_pickle))
        except RuntimeError as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
            raise UserError(f"the weights in {given.weights} do not fit {name} ({reason[:300]})") from None
    notes = () if given.weights else ("its weights are untrained: give some with --weights",)
    return replace(of_module(module, name, kind, given, carried, classes), notes=notes)


def outputs_in(weights: Mapping[str, Tensor], like: nn.Module) -> int | None:
    """How many classes weights tell apart: as many as the last dense layer of a module of that kind has outputs."""
    dense = [name for name, module in like.named_modules() if isinstance(module, nn.Linear)]
    last = weights.get(f"{dense[-1]}.weight") if dense else None
    return None if last is None else len(last)
