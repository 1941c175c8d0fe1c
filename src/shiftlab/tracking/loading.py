"""Models that MLflow holds, this package's and anyone's, with one interface whatever their flavour."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import artifacts, pyfunc, pytorch
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
from mlflow.models import Model, ModelSignature
from torch import Tensor, nn

from shiftlab.environment import environment
from shiftlab.errors import UserError
from shiftlab.tracking.serving import ServedModel
from shiftlab.tracking.store import FAILURES, first_line

PICKLES = (".pkl", ".pickle", ".joblib")
PICKLED = (
    "{} is stored as a pickle, which could run any code: log it again as pt2 "
    "(mlflow.pytorch.log_model(..., serialization_format='pt2')) or ONNX, or read it with --trust-pickle"
)
SERVING = "shiftlab.tracking.serving"  # loads this package's models


@dataclass(frozen=True)
class LoggedModel:
    """A model that MLflow holds."""

    flavour: str
    predict: Callable[[Tensor], object]
    shape: tuple[int, ...] | None  # of one image, as the signature has it; -1 where a side is free
    digest: str  # SHA-256 of its files
    module: nn.Module | None = None
    classes: tuple[str, ...] | None = None
    raw: bool = False  # does it take raw pixels and normalise them itself?
    dtype: str | None = None  # of images, as the signature has it


def load(address: str, trust_pickle: bool = False) -> LoggedModel:
    """Load the model at `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/ID/PATH`.

    Raises:
        UserError: there is none, its flavour is another than pytorch, onnx and pyfunc, or it is a pickle, untrusted.
    """
    try:
        folder = Path(artifacts.download_artifacts(artifact_uri=address))
        model = Model.load(folder)
        # MLflow itself refuses pickles, within .pt2 files too, where this says so.
        with environment({MLFLOW_ALLOW_PICKLE_DESERIALIZATION.name: str(trust_pickle).lower()}):
            return _load(folder, model, address, trust_pickle)
    except FAILURES as error:
        reason = first_line(error)
        if "using pickle is disallowed" in reason:
            raise UserError(PICKLED.format(address)) from None
        raise UserError(
            f"{address} can't be loaded from MLflow ({reason}): look for its name with `make ui`, set "
            "MLFLOW_TRACKING_URI to the store that has it, or log it again with `make sync` where its files are gone"
        ) from None


def _load(folder: Path, model: Model, address: str, trust_pickle: bool) -> LoggedModel:
    (shape, dtype), digest = _images(model.signature), _digest(folder)
    if "pytorch" in model.flavors:
        module = pytorch.load_model(str(folder))
        return LoggedModel("pytorch", module, shape, digest, module, dtype=dtype)
    if "python_function" not in model.flavors:
        raise UserError(f"{address} has the flavours {', '.join(model.flavors)}: pytorch, onnx and pyfunc can be used")
    flavour = "onnx" if "onnx" in model.flavors else "pyfunc"
    if flavour == "pyfunc" and not trust_pickle and any(path.suffix in PICKLES for path in folder.rglob("*")):
        raise UserError(PICKLED.format(address))
    predictor = pyfunc.load_model(str(folder))
    if model.flavors["python_function"].get("loader_module") != SERVING:
        return LoggedModel(flavour, partial(_predict, predictor), shape, digest, dtype=dtype)
    served: ServedModel = predictor.get_raw_model()
    return LoggedModel(flavour, partial(_predict, served), shape, digest, classes=served.classes, raw=True)


def _predict(model: Any, batch: Tensor) -> object:
    return model.predict(batch.cpu().numpy())


def _images(signature: ModelSignature | None) -> tuple[tuple[int, ...] | None, str | None]:
    """Return the shape of one image and the type of its pixels, as the signature has them."""
    if signature is None or signature.inputs is None or not signature.inputs.is_tensor_spec():
        return None, None
    (spec, *_) = signature.inputs.inputs
    return tuple(spec.shape[1:]), str(spec.type)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
