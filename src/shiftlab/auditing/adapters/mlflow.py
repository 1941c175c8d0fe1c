"""`models:/NAME@ALIAS` or `runs:/...`: a logged model of MLflow, ours or anyone's."""

from shiftlab.auditing.adapters import Given
from shiftlab.auditing.model import Model
from shiftlab.auditing.modules import of_module
from shiftlab.auditing.preprocessing import Carried, Channels, Layout
from shiftlab.errors import extra


def load(what: str, given: Given) -> Model:
    """The model, by its flavour: pytorch, onnx or pyfunc; its signature tells the shape of its inputs.

    Raises:
        UserError: MLflow is not installed, there is no such model, or it can't be loaded.
    """
    with extra("mlflow"):
        from shiftlab.track import loading
    found = loading.load(what, given.trust_pickle)
    known = _carried(found.shape, found.raw)
    if found.module is not None:
        return of_module(found.module, what, "mlflow pytorch", given, known, found.classes)
    return Model(what, f"mlflow {found.flavour}", found.predict, known, found.digest, found.classes, whole=found.raw)


def _carried(shape: tuple[int, ...] | None, raw: bool) -> Carried:
    """What the signature tells.

    Args:
        shape: of one image, in the model's layout; -1 where a side is free.
        raw: does the model normalise pixels itself, as ours do?
    """
    layout: Layout | None = None
    channels: Channels | None = None
    sides: tuple[int, ...] = ()
    if shape and len(shape) == 2:
        layout, channels, sides = "nhw", "grey", shape
    elif shape and len(shape) == 3 and (shape[0] in (1, 3)) != (shape[2] in (1, 3)):
        layout = "nchw" if shape[0] in (1, 3) else "nhwc"
        number, sides = (shape[0], shape[1:]) if layout == "nchw" else (shape[2], shape[:2])
        channels = "grey" if number == 1 else ("rgb" if raw else None)
    frame = (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None
    if raw:
        return Carried(
            frame=frame, channels=channels, layout=layout, white=255, mean=(0.0,), std=(1.0,), source="the model's card"
        )
    return Carried(frame=frame, channels=channels, layout=layout, source="MLflow's signature")
