"""Where an unfinished training waits for the next attempt.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails. So a
checkpoint lies in neither: it lies in the repository's root, under a name made from all that the weights depend on.
"""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from shiftlab import files
from shiftlab.training import State


class Checkpoint:
    """The file of one training; another learning rate, seed, data set, code or PyTorch has another file.

    Args:
        settings: what the caller's weights depend on, in JSON's types. The code, PyTorch's version and the number
            of threads, on which the last bits of a sum depend, are added to it.
    """

    def __init__(self, model: str, seed: int, settings: Mapping[str, object]) -> None:
        package = Path(__file__).parent
        code = [package / f"{name}.py" for name in ("training", "classifier", "data", f"models/{model}")]
        everything = {
            **settings,
            "model": model,
            "seed": seed,
            "code": [files.sha256(path) for path in code],
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        self.key = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
        root = Path(os.environ.get("DVC_ROOT", ""))
        self._path = root / "checkpoints" / f"{model}-{seed}-{self.key[:16]}.pt"

    def load(self) -> State | None:
        """The state after the last finished epoch; None where there is none that can be read."""
        try:
            return State.from_dict(torch.load(self._path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None

    def save(self, state: State) -> None:
        """Replace what was there.

        Raises:
            OSError: as `files.write`.
        """
        buffer = io.BytesIO()
        torch.save(state.to_dict(), buffer)
        files.write(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Forget the training, once its weights are where they belong."""
        self._path.unlink(missing_ok=True)
