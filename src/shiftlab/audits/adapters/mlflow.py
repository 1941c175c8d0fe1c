"""`models:/NAME@ALIAS` or `runs:/...`: a logged model of MLflow, ours or anyone's."""

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import CLASSIFIER_HINTS, from_module
from shiftlab.audits.preprocessing import hints_of_shape
from shiftlab.config.audit import PreprocessingHints
from shiftlab.errors import extra


def load(name: str, options: ModelOptions) -> Model:
    """Return the model by its flavour: pytorch, onnx or pyfunc; its signature tells the shape of its inputs."""
    with extra("mlflow"):
        from shiftlab.tracking import loading
    logged = loading.load(name, options.trust_pickle)
    hints = hints_of_shape(logged.shape or ())
    if logged.raw:  # ours: three channels are red, green and blue
        hints = hints.merge(CLASSIFIER_HINTS).merge(PreprocessingHints(channels="rgb"))
    if logged.module is not None:
        return from_module(logged.module, name, "mlflow pytorch", options, hints, logged.classes)
    kind = f"mlflow {logged.flavour}"
    return Model(name, kind, logged.predict, hints, logged.digest, logged.classes, integers=logged.raw)
