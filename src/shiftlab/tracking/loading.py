"""Models that MLflow holds, ours and anyone's, to be asked alike whatever their flavour."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import artifacts, pyfunc, pytorch
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
from mlflow.models import Model, ModelSignature
from torch import Tensor, nn

from shiftlab.errors import UserError
from shiftlab.tracking.serving import Served
from shiftlab.tracking.store import FAILURES

PICKLES = (".pkl", ".pickle", ".joblib")
PICKLED = (
    "{} is stored as a pickle, which could run any code: log it again as pt2 "
    "(mlflow.pytorch.log_model(..., serialization_format='pt2')) or ONNX, or read it with --trust-pickle"
)
SERVING = "shiftlab.tracking.serving"  # loads ours


@dataclass(frozen=True)
class Loaded:
    """A model of MLflow's."""

    flavour: str
    predict: Callable[[Tensor], object]
    module: nn.Module | None
    shape: tuple[int, ...] | None  # of one image, as the signature has it; -1 where a side is free
    classes: tuple[str, ...] | None
    digest: str  # SHA-256 of its files
    raw: bool = False  # does it take raw pixels and normalise them itself?


def load(address: str, trust_pickle: bool = False) -> Loaded:
    """The model at `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/ID/PATH`.

    Raises:
        UserError: there is none, its flavour is another than pytorch, onnx and pyfunc, or it is a pickle, untrusted.
    """
    try:
        folder = Path(artifacts.download_artifacts(artifact_uri=address))
        about = Model.load(folder)
        with _trusting(trust_pickle):
            return _of(folder, about, address, trust_pickle)
    except FAILURES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "using pickle is disallowed" in reason:
            raise UserError(PICKLED.format(address)) from None
        raise UserError(
            f"{address} can't be loaded from MLflow ({reason}): look for its name with `make ui`, or set "
            "MLFLOW_TRACKING_URI to the store that has it"
        ) from None


def _of(folder: Path, about: Model, address: str, trust_pickle: bool) -> Loaded:
    flavours: dict[str, dict[str, Any]] = about.flavors
    shape, digest = _shape(about.signature), _digest(folder)
    if "pytorch" in flavours:
        module = pytorch.load_model(str(folder))
        return Loaded("pytorch", module, module, shape, None, digest)
    if "onnx" in flavours:
        function = pyfunc.load_model(str(folder))
        return Loaded("onnx", lambda batch: function.predict(batch.cpu().numpy()), None, shape, None, digest)
    if "python_function" not in flavours:
        raise UserError(f"{address} has the flavours {', '.join(flavours)}: pytorch, onnx and pyfunc can be asked")
    if not trust_pickle and any(path.suffix in PICKLES for path in folder.rglob("*")):
        raise UserError(PICKLED.format(address))
    function = pyfunc.load_model(str(folder))
    inner = function.get_raw_model() if flavours["python_function"].get("loader_module") == SERVING else None
    if isinstance(inner, Served):
        return Loaded(
            "pyfunc", lambda batch: inner.predict(batch.cpu().numpy()), None, shape, inner.classes, digest, True
        )
    return Loaded("pyfunc", lambda batch: function.predict(batch.cpu().numpy()), None, shape, None, digest)


@contextlib.contextmanager
def _trusting(trust_pickle: bool) -> Iterator[None]:
    """MLflow itself refuses pickles, within .pt2 files too, where this says so."""
    name = MLFLOW_ALLOW_PICKLE_DESERIALIZATION.name
    before = os.environ.get(name)
    os.environ[name] = str(trust_pickle).lower()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _shape(signature: ModelSignature | None) -> tuple[int, ...] | None:
    if signature is None or signature.inputs is None or not signature.inputs.is_tensor_spec():
        return None
    (spec, *_) = signature.inputs.inputs
    return tuple(spec.shape[1:])


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(folder)).encode())
        found.update(path.read_bytes())
    return found.hexdigest()
