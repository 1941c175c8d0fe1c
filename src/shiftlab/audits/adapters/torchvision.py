"""`torchvision:NAME`: an architecture of torchvision, with weights from a file."""

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import from_library, outputs_of
from shiftlab.config.audit import PreprocessingHints, read
from shiftlab.errors import UserError, extra


def load(name: str, options: ModelOptions) -> Model:
    """Return the architecture with the options' weights, preprocessed as torchvision's own weights of it say."""
    with extra("torchvision"):
        from torchvision import models
    architecture = name.partition(":")[2]
    try:
        module = models.get_model(architecture, weights=None)
        weights = models.get_model_weights(architecture)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"torchvision has no architecture {architecture!r} ({error}): torchvision.models.list_models() lists them"
        ) from None
    outputs = outputs_of(module, options)
    if outputs:
        module = models.get_model(architecture, weights=None, num_classes=outputs)
    best = getattr(weights, "DEFAULT", None)
    if best is None:
        return from_library(module, name, options, PreprocessingHints())
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
    categories = tuple(best.meta["categories"])
    classes = categories if outputs in (None, len(categories)) else None
    return from_library(module, name, options, read(PreprocessingHints, hints), classes)
