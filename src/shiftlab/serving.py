"""How MLflow loads a model that a run has logged: `_load_pyfunc` is the name it looks for."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shiftlab import weights
from shiftlab.classifier import Classifier


class Served:
    """A trained model behind MLflow's interface."""

    def __init__(self, model: Classifier) -> None:
        self._model = model

    def predict(self, images: NDArray[np.generic]) -> NDArray[np.float32]:
        """Logits, float32 `(N, 10)`, of raw images `(N, H, W)`, 0 to 255."""
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(torch.from_numpy(np.ascontiguousarray(images))).numpy()
        return logits


def _load_pyfunc(path: str, settings: dict[str, Any]) -> Served:
    return Served(weights.load(settings["architecture"], Path(path), settings["size"]))
