"""Where an unfinished training waits for the next attempt.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails. So a
checkpoint lies in neither: it lies in the repository's root, under a name made from all that the weights depend on.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from shiftlab import files
from shiftlab.training import State

DIGEST_BYTES = hashlib.sha256().digest_size


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
        """The state after the last finished epoch; None where there is none, or it is damaged."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return None
        digest, state = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if _digest(state) != digest:
            return None
        return State.from_dict(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))

    def save(self, state: State) -> None:
        """Replace what was there.

        Raises:
            OSError: as `files.write`.
        """
        buffer = io.BytesIO()
        torch.save(state.to_dict(), buffer)
        # With its digest in front: a flipped bit would end training in a traceback, or go on with other weights.
        files.write(self._path, _digest(buffer.getvalue()) + buffer.getvalue())

    def remove(self) -> None:
        """Forget the training, once its weights are where they belong."""
        self._path.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
