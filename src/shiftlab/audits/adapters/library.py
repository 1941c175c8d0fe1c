"""`timm:NAME`, `torchvision:NAME`: a library's architecture, with weights from a file, preprocessed as it says."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import count_classes, from_module, read_weights
from shiftlab.config.audit import PreprocessingHints, read
from shiftlab.errors import UserError, extra

Builder = Callable[..., nn.Module]  # takes `num_classes`


def load(name: str, options: ModelOptions) -> Model:
    """Return the architecture with the options' weights; without any, untrained, which the notes say."""
    library, _, architecture = name.partition(":")
    build, hints, classes = _from_timm(architecture) if library == "timm" else _from_torchvision(architecture)
    module = build()
    weights = read_weights(options.weights, options.trust_pickle) if options.weights else None
    outputs = count_classes(weights, module) if weights else options.outputs
    if outputs:
        module = build(num_classes=outputs)
    if weights:
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            mismatch = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
            raise UserError(f"the weights in {options.weights} do not fit {name} ({mismatch[:300]})") from None
    if classes and outputs not in (None, len(classes)):
        classes = None
    notes = () if weights else ("its weights are untrained: give some with --weights",)
    return replace(from_module(module, name, library, options, hints, classes), notes=notes)


def _from_timm(architecture: str) -> tuple[Builder, PreprocessingHints, None]:
    """Return what builds the architecture, and what timm knows of its pixels."""
    with extra("timm"):
        import timm
        from timm.data.config import resolve_model_data_config
    build = partial(timm.create_model, architecture, pretrained=False)
    try:
        config = resolve_model_data_config(build())
    except (RuntimeError, ValueError) as error:
        near = ", ".join(timm.list_models(f"*{architecture.split('.')[0][:6]}*")[:5])
        hint = f", perhaps {near}" if near else ""
        raise UserError(
            f"timm has no architecture {architecture!r} ({error}): timm.list_models() lists them{hint}"
        ) from None
    channels, height, width = config["input_size"]
    hints = {
        "resize": int(min(height, width) / config["crop_pct"]),
        "frame": (height, width),
        "interpolation": config["interpolation"] if config["interpolation"] != "random" else "bilinear",
        "channels": {1: "grey", 3: "rgb"}.get(channels),
        "mean": config["mean"],
        "std": config["std"],
        "layout": "nchw",
    }
    return build, read(PreprocessingHints, hints), None


def _from_torchvision(architecture: str) -> tuple[Builder, PreprocessingHints, tuple[str, ...] | None]:
    """Return what builds the architecture, and what torchvision's own weights of it say of pixels and classes."""
    with extra("torchvision"):
        from torchvision import models
    try:
        weights = models.get_model_weights(architecture)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"torchvision has no architecture {architecture!r} ({error}): torchvision.models.list_models() lists them"
        ) from None
    build = partial(models.get_model, architecture, weights=None)
    best = getattr(weights, "DEFAULT", None)
    if best is None:
        return build, PreprocessingHints(), None
    transforms = best.transforms()
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    hints = {
        "resize": resize,
        "frame": (crop, crop),
        "interpolation": transforms.interpolation.value,
        "channels": "rgb",
        "mean": transforms.mean,
        "std": transforms.std,
        "layout": "nchw",
    }
    return build, read(PreprocessingHints, hints), tuple(best.meta["categories"])
