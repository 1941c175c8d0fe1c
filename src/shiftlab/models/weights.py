"""Weights on disk: safetensors, which holds tensors and their architecture's name, and can't run code."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shiftlab import files
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier


def path(model: str, seed: int) -> Path:
    """Return where the train stage puts a model's weights."""
    return Path("models", f"{model}-{seed}.safetensors")


def save(weights: dict[str, Tensor], name: str, path: Path, components: Mapping[str, object] | None = None) -> None:
    """Write the state dict of an architecture `name` with these components; the same weights give the same bytes."""
    # One entry of metadata and no more: safetensors writes several in an order that changes from run to run.
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
    architecture = f"{name} {json.dumps(dict(components), sort_keys=True)}" if components else name
    files.write(path, safetensors.torch.save(tensors, {"architecture": architecture}))


def load(name: str, path: Path, shape: tuple[int, int, int], classes: int) -> Classifier:
    """Return the architecture `name`, components and weights as in `path`, in evaluation mode and on the CPU.

    Its images have that shape: channels, height, width. UserError: no such file, not weights, or those of another
    architecture, other images or classes.
    """
    try:
        with safe_open(path, "pt") as file:
            architecture, _, components = (file.metadata() or {}).get("architecture", name).partition(" ")
            choices = json.loads(components or "{}")
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    except FileNotFoundError:
        raise UserError(f"no weights at {path}: `dvc repro` trains them, `dvc checkout` brings them back") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} does not hold weights in safetensors' format ({error}): "
            "delete it, then `dvc checkout` or `dvc repro`"
        ) from None
    try:
        if architecture != name:
            raise RuntimeError(f"they are those of {architecture}")
        model = architectures.build(name, shape, classes, choices)
        model.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UserError(
            f"the weights in {path} do not fit {name} ({reason}): delete it, then `dvc checkout` or `dvc repro`"
        ) from None
    return model.eval()
