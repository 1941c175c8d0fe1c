"""`timm:NAME`: an architecture of timm, with weights from a file; timm knows how its pixels are prepared."""

from typing import Any, cast

from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import of_library, outputs_in, read_weights
from shiftlab.audits.preprocessing import carried
from shiftlab.errors import UserError, extra


def load(what: str, given: Given) -> Model:
    """The architecture with the weights that are given; without any, untrained, which the notes say.

    Raises:
        UserError: timm is not installed or knows no such architecture; the weights do not fit.
    """
    with extra("timm"):
        import timm
        from timm.data.config import resolve_model_data_config
    name = what.partition(":")[2]
    try:
        module = timm.create_model(name, pretrained=False)
    except (RuntimeError, ValueError) as error:
        near = ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:5])
        hint = f", perhaps {near}" if near else ""
        raise UserError(f"timm has no architecture {name!r} ({error}): timm.list_models() lists them{hint}") from None
    outputs = given.outputs
    if given.weights:
        outputs = outputs_in(read_weights(given.weights, given.trust_pickle), module)
    if outputs:
        cast("Any", module).reset_classifier(outputs)
    config = resolve_model_data_config(module)
    _, height, width = config["input_size"]
    known = carried(
        {
            "resize": int(min(height, width) / config["crop_pct"]),
            "frame": (height, width),
            "interpolation": config["interpolation"] if config["interpolation"] != "random" else "bilinear",
            "channels": {1: "grey", 3: "rgb"}.get(config["input_size"][0]),
            "mean": config["mean"],
            "std": config["std"],
            "layout": "nchw",
        }
    )
    return of_library(module, what, "timm", given, known)
