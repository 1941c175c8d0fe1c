"""A .safetensors file that this repository's pipeline trained, which names its architecture."""

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import CLASSIFIER_HINTS, count_classes, read_weights
from shiftlab.config.audit import PreprocessingHints, place
from shiftlab.errors import UserError
from shiftlab.models import architectures, weights
from shiftlab.networks import components
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.fast import fuse

SIDES = (28, *range(4, 257))  # of square images, in pixels: MNIST's first, since a network may fit many


def load(name: str, options: ModelOptions) -> Model:
    """Return the network that the pipeline evaluates."""
    path = Path(name)
    tensors = read_weights(path, trust_pickle=False)
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if "architecture" not in metadata:
        raise UserError(
            f"{path} does not name its architecture: give it as timm:NAME --weights {path}, or torchvision:NAME"
        )
    architecture, _, text = metadata["architecture"].partition(" ")
    known = architectures.names()
    if architecture not in known:
        raise UserError(f"{path} is of the architecture {architecture}, which is none of {', '.join(known)}")
    try:
        choices = json.loads(text or "{}")
        components.validate(architecture, choices)
    except ValueError:
        raise UserError(f"{path} names components that {architecture} does not have: {text}") from None
    shape = _shape(tensors, architecture, choices, options)
    classes = None if shape is None else count_classes(tensors, _outline(architecture, shape, choices))
    if shape is None or classes is None:
        raise UserError(f"{path} does not hold the weights of {architecture}: `dvc checkout` brings them back")
    module = fuse(weights.load(architecture, path, shape, classes), shape).to(options.device)
    hints = CLASSIFIER_HINTS.merge(PreprocessingHints(frame=shape[1:], channels="grey" if shape[0] == 1 else "rgb"))
    return Model(place(path.with_suffix("")), "shiftlab", module, hints, files.sha256(path), module=module)


def _shape(
    tensors: Mapping[str, Tensor], name: str, choices: Mapping[str, object], options: ModelOptions
) -> tuple[int, int, int] | None:
    """Return channels, height and width of a model's images: as options say, or square ones that fit its weights."""
    convolved = [value.shape[1] for key, value in sorted(tensors.items()) if value.ndim == 4]
    if sides := options.frame or (options.image[1:] if options.image else None):
        return (convolved[0] if convolved else options.image[0] if options.image else 1, *sides)
    inputs = {key: value.shape[1:] for key, value in tensors.items()}  # the first axis may be that of classes
    for channels, side in product(convolved[:1] or (1, 3), SIDES):
        with suppress(UserError):  # too small for the architecture
            outline = _outline(name, (channels, side, side), choices)
            if inputs == {key: value.shape[1:] for key, value in outline.state_dict().items()}:
                return channels, side, side
    return None


def _outline(name: str, shape: tuple[int, int, int], choices: Mapping[str, object]) -> Classifier:
    """Return a network whose weights have shapes and no values."""
    with torch.device("meta"):
        return architectures.build(name, shape, 2, choices)
