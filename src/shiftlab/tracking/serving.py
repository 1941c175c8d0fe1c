"""Serve a trained model: the object that MLflow loads, and a server in front of it.

MLflow casts what a request holds to the type of the model's signature without a word, and answers a mistake with a dump
of the array. So the model looks at its images itself, and the server hands them over as they came.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from shiftlab.data.folder import as_pixels, decode
from shiftlab.errors import UserError
from shiftlab.models import weights
from shiftlab.networks.classifier import Classifier
from shiftlab.tracking.runs import request_shape
from shiftlab.tracking.store import FAILURES, first_line

IMAGE_TYPES = ("image/png", "image/jpeg")


class ServedModel:
    """A trained model behind MLflow's interface.

    Args:
        shape: of its images: channels, height, width.
        classes: their names.
    """

    def __init__(self, model: Classifier, shape: tuple[int, int, int], classes: tuple[str, ...]) -> None:
        self._model, self.shape, self.classes = model, shape, classes

    def get_raw_model(self) -> "ServedModel":
        """Itself, which is how MLflow hands it out."""
        return self

    def predict(self, images: NDArray[np.generic]) -> NDArray[np.float32]:
        """Compute logits, float32 `(N, classes)`, of raw images, whole numbers from 0 to 255 of any type.

        Args:
            images: `(N, H, W)` grey, or `(N, 3, H, W)` in red, green and blue, as the model was trained on.

        Raises:
            MlflowException: they are something else; as an answer, status 400.
        """
        if problem := self._problem(images):
            raise MlflowException.invalid_parameter_value(f"{problem}; expected are {self.expected}")
        whole = torch.from_numpy(np.ascontiguousarray(images, dtype=np.uint8)).reshape(-1, *self.shape)
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(whole).numpy()
        return logits

    @property
    def expected(self) -> str:
        """The images that it takes, in words."""
        sides = ", ".join(map(str, request_shape(self.shape)))
        colours = "grey" if self.shape[0] == 1 else "red, green and blue"
        return f"raw {colours} images, an array of (number of images, {sides}) whole numbers from 0, black, to 255"

    def _problem(self, images: NDArray[np.generic]) -> str:
        """Return what is wrong with the images; "" where nothing is."""
        sides = request_shape(self.shape)
        if images.dtype == bool or not np.issubdtype(images.dtype, np.number):
            return f"the images hold {images.dtype}, not numbers"
        if images.shape == sides:
            return f"the shape is {images.shape}, which lacks an axis for the number of images"
        if images.shape[1:] != sides:
            return f"the shape is {images.shape}"
        if len(images) == 0:
            return "there is no image"
        if np.iscomplexobj(images) or not np.isfinite(images).all():
            return "there are pixels that are no number"
        pixels = images.astype(np.float64)
        low, high = pixels.min(), pixels.max()
        if low < 0 or high > 255:
            return f"pixels go from {low:g} to {high:g}"
        if (pixels != np.round(pixels)).any() or high == 1:
            return f"pixels go from {low:g} to {high:g}, as those scaled to 0..1 do: multiply them by 255 and round"
        return ""


def _load_pyfunc(path: str, settings: dict[str, Any]) -> ServedModel:
    """Load a model that a run has logged: MLflow calls this function by its name.

    Raises:
        UserError: earlier code has logged it.
    """
    try:
        architecture, shape, classes = settings["architecture"], tuple(settings["shape"]), tuple(settings["classes"])
    except KeyError as error:
        raise UserError(f"the model was logged by earlier code, without its {error}: train it anew") from None
    return ServedModel(weights.load(architecture, Path(path), shape, len(classes)), shape, classes)


def load(address: str) -> ServedModel:
    """Load the model at an address in MLflow's registry.

    Raises:
        UserError: earlier code has logged it, or its files are gone.
    """
    try:
        served: ServedModel = pyfunc.load_model(address).get_raw_model()
    except FAILURES as error:
        advice = "`make sync` logs it again where its files are gone and DVC has them"
        raise UserError(f"{address} can't be loaded from MLflow ({first_line(error)}): {advice}") from None
    return served


def server(model: ServedModel) -> FastAPI:
    """Return a server that answers POST /invocations: JSON as MLflow's own server takes it, or a PNG or JPEG as it is.

    The answer is `{"predictions": [...]}`, logits for each image. A mistake has status 400 and one sentence.
    """
    app = FastAPI(title="shiftlab", docs_url=None, redoc_url=None)

    @app.get("/ping")
    @app.get("/health")
    def alive() -> Response:
        return Response(status_code=200)

    @app.post("/invocations")
    async def answer(request: Request) -> JSONResponse:
        body = await request.body()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            images = _images_of_picture(body, model) if kind in IMAGE_TYPES else _images_of_json(body, kind, model)
            return JSONResponse({"predictions": model.predict(images).tolist()})
        except (UserError, MlflowException) as error:
            message = error.message if isinstance(error, MlflowException) else str(error)
            return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status_code=400)

    return app


def _images_of_json(body: bytes, kind: str, model: ServedModel) -> NDArray[np.generic]:
    if kind not in ("application/json", ""):
        raise UserError(f"the content type is {kind}: post application/json, {' or '.join(IMAGE_TYPES)}")
    try:
        content = json.loads(body)
        (key,) = content.keys() & {"inputs", "instances"}
        return np.array(content[key])
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f'the body is not JSON of the form {{"inputs": [...]}} with {model.expected}') from None


def _images_of_picture(body: bytes, model: ServedModel) -> NDArray[np.generic]:
    pixels = as_pixels(decode(BytesIO(body), "the picture"))
    channels, height, width = model.shape
    if pixels.shape[:2] != (height, width):
        raise UserError(f"the picture has {pixels.shape[1]}x{pixels.shape[0]} pixels, the model takes {width}x{height}")
    if pixels.shape[2] > channels:
        raise UserError("the picture has colours, the model takes grey ones: save it in grey")
    full = np.broadcast_to(pixels, (height, width, channels))
    return full.transpose(2, 0, 1).reshape(1, *request_shape(model.shape))
