"""`models:/NAME@ALIAS` or `runs:/...`: a logged model of MLflow, ours or anyone's."""

from dataclasses import replace

import torch

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import CLASSIFIER_HINTS, from_module
from shiftlab.audits.preprocessing import hints_of_inputs
from shiftlab.config.audit import PreprocessingHints
from shiftlab.errors import extra


def load(name: str, options: ModelOptions) -> Model:
    """Return the model by its flavour: pytorch, onnx or pyfunc; its signature tells the shape of its inputs."""
    with extra("mlflow"):
        from shiftlab.tracking import loading
    logged = loading.load(name, options.trust_pickle)
    dtype = getattr(torch, logged.dtype or "float32", torch.float32)
    hints = hints_of_inputs(logged.shape or (), dtype)
    if logged.raw:  # ours: three channels are red, green and blue
        hints = hints.merge(CLASSIFIER_HINTS).merge(PreprocessingHints(channels="rgb"))
    if logged.module is not None:
        model = from_module(logged.module, name, "mlflow pytorch", options, hints, logged.classes)
        return replace(model, dtype=dtype) if logged.dtype else model
    kind = f"mlflow {logged.flavour}"
    model = Model(name, kind, logged.predict, hints, logged.digest, logged.classes, dtype=dtype)
    return replace(model, integers=logged.raw)
