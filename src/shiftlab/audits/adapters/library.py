"""`timm:NAME`, `torchvision:NAME`: a library's architecture, with weights from a file, preprocessed as it says."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import count_classes, first_line, from_module, read_weights, select_weights
from shiftlab.config.audit import PreprocessingHints, place, read
from shiftlab.errors import UserError, extra

Builder = Callable[..., nn.Module]  # takes `num_classes`


def load(name: str, options: ModelOptions) -> Model:
    """Return the architecture with the options' weights; without any, untrained, which the notes say."""
    library, _, architecture = name.partition(":")
    from_library = _from_timm if library == "timm" else _from_torchvision
    try:
        build, hints, classes = from_library(architecture, options.arguments)
        module = build()
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        if not options.arguments:
            raise
        arguments = ", ".join(f"{argument}={value!r}" for argument, value in options.arguments.items())
        raise UserError(f"{name} can't be built with {arguments} ({first_line(error)}): correct --model-args") from None
    if options.weights is None:
        if options.outputs:
            module = build(num_classes=options.outputs)
        notes: tuple[str, ...] = ("its weights are untrained: give some with --weights",)
        source: dict[str, str] = {}
    else:
        module, build, key = _load_weights(module, build, name, options)
        notes = _untold(module, build, hints, options.arguments) if options.notes else ()
        source = {"weights": place(options.weights)}
        if key:
            source["weights_key"] = key
    model = from_module(module, name, library, options, hints)
    outputs = options.arguments.get("num_classes", count_classes(module.state_dict(), module))
    return replace(model, notes=notes, source=source, classes=classes if classes and outputs == len(classes) else None)


def _load_weights(
    module: nn.Module, build: Builder, name: str, options: ModelOptions
) -> tuple[nn.Module, Builder, str]:
    """Return the architecture with as many outputs as its weights have, what builds it, and the weights' set."""
    assert options.weights is not None
    tensors = read_weights(options.weights, options.trust_pickle)
    weights, key = select_weights(tensors, module.state_dict(), options.weights_key, options.weights)
    if (outputs := count_classes(weights, module)) and "num_classes" not in options.arguments:
        build = partial(build, num_classes=outputs)
        module = build()
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        mismatch = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
        raise UserError(
            f"the weights in {options.weights} do not fit {name} ({mismatch[:300]}): correct the name, or give the "
            "constructor's arguments with --model-args"
        ) from None
    return module, build, key


def _untold(
    module: nn.Module, build: Builder, hints: PreprocessingHints, arguments: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return what weights do not tell: switches of the constructor by which the same weights answer otherwise."""
    sides = hints.frame or (224, 224)
    inputs = torch.randn(2, 1 if hints.channels == "grey" else 3, *sides, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = module.eval()(inputs)
    switches = inspect.signature(type(module)).parameters.values()
    notes = []
    for name in (switch.name for switch in switches if isinstance(switch.default, bool)):
        answers = {value: _answer(module, partial(build, **{name: value}), inputs) for value in (True, False)}
        if name in arguments or any(answer is None for answer in answers.values()):  # weights tell it
            continue
        for value, answer in answers.items():
            if (answer - expected).abs().max() > 1e-3 * (expected[0] - expected[1]).abs().max():
                notes.append(f"weights do not tell {name}, which is {not value} here: --model-args says otherwise")
    return tuple(notes)


def _answer(module: nn.Module, build: Builder, inputs: Tensor) -> Tensor | None:
    """Return the outputs of a module that is built otherwise from the same tensors; None where they do not fit."""
    buffers = dict(module.named_buffers())
    try:
        with torch.device("meta"):
            other = build().eval()
        other.load_state_dict(module.state_dict(), assign=True)
        for name in dict(other.named_buffers()):  # those that a state dict lacks
            owner, _, attribute = name.rpartition(".")
            setattr(other.get_submodule(owner), attribute, buffers[name])
        with torch.inference_mode():
            return torch.as_tensor(other(inputs))
    except Exception:  # whatever a library's code raises
        return None


def _from_timm(architecture: str, arguments: Mapping[str, Any]) -> tuple[Builder, PreprocessingHints, None]:
    """Return what builds the architecture, and what timm knows of its pixels."""
    with extra("timm"):
        import timm
        from timm.data.config import resolve_model_data_config
    build = partial(timm.create_model, architecture, pretrained=False, **arguments)
    try:
        config = resolve_model_data_config(build(), args=dict(arguments))
    except (RuntimeError, ValueError) as error:
        near = ", ".join(timm.list_models(f"*{architecture.split('.')[0][:6]}*")[:5])
        hint = f", perhaps {near}" if near else ""
        raise UserError(
            f"timm has no architecture {architecture!r} ({error}): timm.list_models() lists them{hint}"
        ) from None
    return build, hints_of_timm(config), None


def hints_of_timm(config: Mapping[str, Any]) -> PreprocessingHints:
    """Return the preprocessing in timm's data configuration."""
    channels, *frame = config["input_size"]
    scaled = [int(side / config["crop_pct"]) for side in frame]
    mode = "pad" if config["crop_mode"] == "center" and config["crop_pct"] > 1 else config["crop_mode"]
    hints = {
        "resize": scaled[0] if config["crop_mode"] == "center" and scaled[0] == scaled[1] else tuple(scaled),
        "crop_mode": mode,
        "frame": tuple(frame),
        "interpolation": config["interpolation"] if config["interpolation"] != "random" else "bilinear",
        "channels": {1: "grey", 3: "rgb"}.get(channels),
        "mean": config["mean"],
        "std": config["std"],
        "layout": "nchw",
    }
    return read(PreprocessingHints, hints)


def _from_torchvision(
    architecture: str, arguments: Mapping[str, Any]
) -> tuple[Builder, PreprocessingHints, tuple[str, ...] | None]:
    """Return what builds the architecture, and what torchvision's own weights of it say of pixels and classes."""
    with extra("torchvision"):
        from torchvision import models
    try:
        weights = models.get_model_weights(architecture)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"torchvision has no architecture {architecture!r} ({error}): torchvision.models.list_models() lists them"
        ) from None
    build = partial(models.get_model, architecture, weights=None, **arguments)
    best = getattr(weights, "DEFAULT", None)
    if best is None:
        return build, PreprocessingHints(), None
    if "categories" not in best.meta or not hasattr(best.transforms(), "crop_size"):
        raise UserError(f"torchvision's {architecture} does not classify images: name an architecture that does")
    return build, hints_of_torchvision(best.transforms()), tuple(best.meta["categories"])


def hints_of_torchvision(transforms: Any) -> PreprocessingHints:
    """Return the preprocessing in torchvision's preset for classification."""
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
    return read(PreprocessingHints, hints)
