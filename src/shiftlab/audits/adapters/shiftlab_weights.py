"""A .safetensors file that this repository's pipeline trained, which names its architecture."""

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shiftlab import files
from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import CLASSIFIER_HINTS, outputs_in, read_weights
from shiftlab.audits.preprocessing import PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.models import architectures, components, weights
from shiftlab.models.classifier import Classifier
from shiftlab.models.fast import fuse

SIDES = (28, *range(4, 257))  # of square images, in pixels: MNIST's first, since a network may fit many


def load(what: str, given: Given) -> Model:
    """The network that the pipeline evaluates.

    Raises:
        UserError: no such file; not of this repository.
    """
    path = Path(what)
    tensors = read_weights(path, trust_pickle=False)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path} can't be read ({error})") from None
    if "architecture" not in about:
        raise UserError(
            f"{path} does not name its architecture: give it as timm:NAME --weights {path}, or torchvision:NAME"
        )
    name, _, chosen = about["architecture"].partition(" ")
    if name not in architectures.names():
        raise UserError(f"{path} is of the architecture {name}, which is none of {', '.join(architectures.names())}")
    try:
        choices = json.loads(chosen or "{}")
        components.chosen(name, choices)
    except ValueError:
        raise UserError(f"{path} names components that {name} does not have: {chosen}") from None
    shape = _shape(tensors, name, choices, given)
    classes = None if shape is None else outputs_in(tensors, _outline(name, shape, choices))
    if shape is None or classes is None:
        raise UserError(f"{path} does not hold the weights of {name}: `dvc checkout` brings them back")
    module = fuse(weights.load(name, path, shape, classes), shape).to(given.device)
    carried = CLASSIFIER_HINTS.merge(PreprocessingHints(frame=shape[1:], channels="grey" if shape[0] == 1 else "rgb"))
    digest = files.sha256(path)
    return Model(path.stem, "shiftlab", module, carried, digest, module=module)


def _shape(
    tensors: Mapping[str, Tensor], name: str, choices: Mapping[str, object], given: Given
) -> tuple[int, int, int] | None:
    """Channels, height and width of a model's images: the sides that are given, or square ones that its weights fit."""
    convolved = [value.shape[1] for key, value in sorted(tensors.items()) if value.ndim == 4]
    if sides := given.frame or (given.image[1:] if given.image else None):
        return (convolved[0] if convolved else given.image[0] if given.image else 1, *sides)
    inputs = {key: value.shape[1:] for key, value in tensors.items()}  # the first axis may be that of classes
    for channels, side in product(convolved[:1] or (1, 3), SIDES):
        with suppress(UserError):  # too small for the architecture
            outline = _outline(name, (channels, side, side), choices)
            if inputs == {key: value.shape[1:] for key, value in outline.state_dict().items()}:
                return channels, side, side
    return None


def _outline(name: str, shape: tuple[int, int, int], choices: Mapping[str, object]) -> Classifier:
    """A network whose weights have shapes and no values."""
    with torch.device("meta"):
        return architectures.build(name, shape, 2, choices)
