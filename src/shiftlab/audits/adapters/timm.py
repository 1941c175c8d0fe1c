"""`timm:NAME`: an architecture of timm, with weights from a file; timm knows how its pixels are preprocessed."""

from typing import Any, cast

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import from_library, outputs_of
from shiftlab.config.audit import PreprocessingHints, read
from shiftlab.errors import UserError, extra


def load(name: str, options: ModelOptions) -> Model:
    """Return the architecture with the options' weights, preprocessed as timm says."""
    with extra("timm"):
        import timm
        from timm.data.config import resolve_model_data_config
    architecture = name.partition(":")[2]
    try:
        module = timm.create_model(architecture, pretrained=False)
    except (RuntimeError, ValueError) as error:
        near = ", ".join(timm.list_models(f"*{architecture.split('.')[0][:6]}*")[:5])
        hint = f", perhaps {near}" if near else ""
        raise UserError(
            f"timm has no architecture {architecture!r} ({error}): timm.list_models() lists them{hint}"
        ) from None
    if outputs := outputs_of(module, options):
        cast("Any", module).reset_classifier(outputs)
    config = resolve_model_data_config(module)
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
    return from_library(module, name, options, read(PreprocessingHints, hints))
