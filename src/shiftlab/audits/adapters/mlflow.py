"""`models:/NAME@ALIAS` or `runs:/...`: a logged model of MLflow, ours or anyone's."""

from dataclasses import replace

from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import CLASSIFIER_HINTS, of_module
from shiftlab.audits.preprocessing import of_shape
from shiftlab.errors import extra


def load(what: str, given: Given) -> Model:
    """The model, by its flavour: pytorch, onnx or pyfunc; its signature tells the shape of its inputs.

    Raises:
        UserError: MLflow is not installed, there is no such model, or it can't be loaded.
    """
    with extra("mlflow"):
        from shiftlab.tracking import loading
    found = loading.load(what, given.trust_pickle)
    known = of_shape(found.shape or ())
    if found.raw:  # ours: three channels are red, green and blue
        known = known.merge(replace(CLASSIFIER_HINTS, channels="rgb"))
    if found.module is not None:
        return of_module(found.module, what, "mlflow pytorch", given, known, found.classes)
    return Model(what, f"mlflow {found.flavour}", found.predict, known, found.digest, found.classes, whole=found.raw)
