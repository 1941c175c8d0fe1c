"""PyTorch modules as models: in evaluation mode, on the device, with their weights' digest; and what adapters share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from shiftlab.audits.model import Model
from shiftlab.config.audit import PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.networks.classifier import Classifier

if TYPE_CHECKING:
    from shiftlab.audits.adapters import ModelOptions

# Ours takes raw pixels and normalises them itself.
CLASSIFIER_HINTS = PreprocessingHints(white=255, mean=(0.0,), std=(1.0,), layout="nchw")


def from_module(
    module: nn.Module,
    name: str,
    kind: str,
    options: ModelOptions,
    hints: PreprocessingHints | None = None,
    classes: tuple[str, ...] | None = None,
) -> Model:
    """Return a module as a model, in evaluation mode and on the options' device."""
    if hints is None:
        hints = CLASSIFIER_HINTS if isinstance(module, Classifier) else PreprocessingHints()
    digest = digest_of(module.state_dict())
    try:
        notes = ("it came in training mode and was put into evaluation mode",) if module.training else ()
        module = module.eval().to(options.device)
    except NotImplementedError:  # an exported program's, which is as it was exported
        return Model(name, kind, module.to(options.device), hints, digest, classes)
    return Model(name, kind, module, hints, digest, classes, module=module, notes=notes)


@contextmanager
def restored_modes(model: object) -> Iterator[None]:
    """Restore each part of a module to training or evaluation mode afterwards: its owner may go on training."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def digest_of(weights: Mapping[str, object]) -> str:
    """Return the SHA-256 of a state dict: names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key]
        digest.update(key.encode())
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            digest.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
            digest.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()


@contextmanager
def reading(path: Path, format_name: str) -> Iterator[None]:
    """Refuse a model's file that is missing, or that its library can't read, in a sentence."""
    if not path.is_file():
        raise UserError(f"no file at {path}: name the model's file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # some libraries' errors share no base
        raise UserError(f"{path} can't be read as {format_name} ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def load_pickle(path: Path, trusted: bool) -> Any:
    """Return what `torch.save` wrote; more than tensors, which could run code, are refused unless they are trusted."""
    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted)
    except Exception as error:
        raise UserError(
            f"{path} is a pickle that holds more than tensors, which could run any code ({first_line(error)}): convert "
            "it where you trust it, with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') or "
            "torch.export.save(...), or read it as it is with --trust-pickle"
        ) from None


def read_weights(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    """Return a state dict from safetensors, or from what `torch.save` wrote, perhaps below `state_dict` or `model`."""
    if not path.is_file():
        raise UserError(f"no weights at {path}: name a .safetensors file, or a state dict that torch.save wrote")
    if path.suffix == ".safetensors":
        with reading(path, "weights in safetensors' format"):
            return safetensors.torch.load_file(path)
    content = load_pickle(path, trust_pickle)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            f"{path} holds {type(content).__name__}, not a state dict: write it with torch.save(model.state_dict())"
        )
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def count_classes(weights: Mapping[str, Tensor], architecture: nn.Module) -> int | None:
    """Return how many classes weights tell apart: the outputs of the architecture's last dense layer, if it has one."""
    dense = [name for name, module in architecture.named_modules() if isinstance(module, nn.Linear)]
    last = weights.get(f"{dense[-1]}.weight") if dense else None
    return None if last is None else len(last)
