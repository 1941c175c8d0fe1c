"""PyTorch modules as models: in evaluation mode, on the device, with their weights' digest; and what adapters share."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
    digest, dtype = digest_of(module.state_dict()), type_of(module)
    try:
        notes = ("it came in training mode and was put into evaluation mode",) if module.training else ()
        module = module.eval().to(options.device)
    except NotImplementedError:  # an exported program's, which is as it was exported
        return Model(name, kind, module.to(options.device), hints, digest, classes, dtype=dtype)
    return Model(name, kind, module, hints, digest, classes, module=module, notes=notes, dtype=dtype)


def type_of(module: nn.Module) -> torch.dtype:
    """Return the type of a module's weights, which its inputs have to have: float16 of a half-precision model."""
    types = (weights.dtype for weights in module.parameters() if weights.is_floating_point())
    return next(types, torch.float32)


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
        if trusted or not isinstance(error, pickle.UnpicklingError):
            remedy = "set PYTHONPATH to the folder of that module" if isinstance(error, ImportError) else "copy it anew"
            raise UserError(
                f"{path} can't be read ({first_line(error) or type(error).__name__}): {remedy}, or name a function "
                "that returns the model, as in model.py:build"
            ) from None
        raise UserError(
            f"{path} is a pickle that holds more than tensors, which could run any code: convert it where you trust "
            "it, with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') or "
            "torch.export.save(...), or read it as it is with --trust-pickle"
        ) from None


def read_weights(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    """Return all tensors of safetensors, or of what `torch.save` wrote; names of nested ones are joined by dots."""
    if not path.is_file():
        raise UserError(f"no weights at {path}: name a .safetensors file, or a state dict that torch.save wrote")
    if path.suffix == ".safetensors":
        with reading(path, "weights in safetensors' format"):
            return safetensors.torch.load_file(path)
    content = load_pickle(path, trust_pickle)
    tensors = dict(_flatten(content))
    if not tensors:
        raise UserError(
            f"{path} holds {type(content).__name__}, not a state dict: write it with torch.save(model.state_dict())"
        )
    return tensors


def _flatten(content: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix.removesuffix("."), content
    elif isinstance(content, nn.Module):
        yield from _flatten(content.state_dict(), prefix)
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}{key}.")


def select_weights(
    weights: Mapping[str, Tensor], names: Iterable[str], key: str | None, path: Path
) -> tuple[dict[str, Tensor], str]:
    """Return an architecture's weights among the tensors of a file, and what stood before their names there.

    Before them may stand places in a checkpoint and wrappers' prefixes, in any order: `state_dict_ema.module.`. Names
    are those of today, as torchvision renames DenseNet's.

    Args:
        names: of the architecture's weights.
        key: what the user calls the set of weights; needed where the file has several.

    Raises:
        UserError: there are several sets and no `key`, or none.
    """
    today = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
    renamed = {today.sub(r"\1", name.replace("_orig_mod.", "")): value for name, value in weights.items()}
    known = {name for name in names if not name.endswith("num_batches_tracked")}  # which old weights lack
    ends = ((name, name[place:]) for name in renamed for place in (0, *(dot.end() for dot in re.finditer(r"\.", name))))
    counts = Counter(name.removesuffix(end) for name, end in ends if end in known)
    # Within an architecture, names of a part may end as those of the whole: few.
    sets = {prefix.removesuffix("."): prefix for prefix, count in counts.items() if 2 * count > max(counts.values())}
    if key is not None:
        sets = {name: prefix for name, prefix in sets.items() if f"{name}.".startswith(f"{key}.")}
    if len(sets) != 1:
        listed = ", ".join(name or "(no name)" for name in sorted(sets)) or "none that this architecture has"
        raise UserError(
            f"{path} holds {len(sets) or 'no'} sets of weights{f' named {key}' if key else ''} ({listed}): "
            + ("name one with --weights-key NAME" if sets else f"its first is named {next(iter(weights))}")
        )
    ((name, prefix),) = sets.items()
    return {key.removeprefix(prefix): value for key, value in renamed.items() if key.startswith(prefix)}, name


def count_classes(weights: Mapping[str, Tensor], architecture: nn.Module) -> int | None:
    """Return how many classes weights tell apart: the outputs of the architecture's last dense layer, if it has one."""
    dense = [name for name, module in architecture.named_modules() if isinstance(module, nn.Linear)]
    last = weights.get(f"{dense[-1]}.weight") if dense else None
    return None if last is None else len(last)
