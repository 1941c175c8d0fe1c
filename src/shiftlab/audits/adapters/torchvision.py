"""`torchvision:NAME`: an architecture of torchvision, with weights from a file."""

from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import of_library, outputs_in, read_weights
from shiftlab.audits.preprocessing import PreprocessingHints, carried
from shiftlab.errors import UserError, extra


def load(what: str, given: Given) -> Model:
    """The architecture with the weights that are given; without any, untrained, which the notes say.

    How its pixels are prepared is what torchvision's own weights of that architecture say.

    Raises:
        UserError: torchvision is not installed or knows no such architecture; the weights do not fit.
    """
    with extra("torchvision"):
        from torchvision import models
    name = what.partition(":")[2]
    try:
        module = models.get_model(name, weights=None)
        weights = models.get_model_weights(name)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"torchvision has no architecture {name!r} ({error}): torchvision.models.list_models() lists them"
        ) from None
    outputs = given.outputs
    if given.weights:
        outputs = outputs_in(read_weights(given.weights, given.trust_pickle), module)
    if outputs:
        module = models.get_model(name, weights=None, num_classes=outputs)
    known, classes = PreprocessingHints(), None
    if best := getattr(weights, "DEFAULT", None):
        chosen = best.transforms()
        (resize,), (crop,) = chosen.resize_size, chosen.crop_size
        known = carried(
            {
                "resize": resize,
                "frame": (crop, crop),
                "interpolation": chosen.interpolation.value,
                "channels": "rgb",
                "mean": chosen.mean,
                "std": chosen.std,
                "layout": "nchw",
            }
        )
        if outputs in (None, len(best.meta["categories"])):
            classes = tuple(best.meta["categories"])
    return of_library(module, what, "torchvision", given, known, classes)
