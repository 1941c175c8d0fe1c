"""Where an unfinished training waits for the next attempt.

DVC deletes a stage's outputs before it runs the stage, and a queued experiment's whole folder when it fails. So a
checkpoint lies in neither: it lies in the repository's root, under a name made from all that the weights depend on.
"""

import io
from collections.abc import Mapping

import torch

from shiftlab import unfinished
from shiftlab.shifts import store
from shiftlab.training.loop import State


class Checkpoint:
    """The file of one training; another learning rate, seed, data set, code or PyTorch has another file.

    Args:
        settings: what the caller's weights depend on, in JSON's types. The code, and what of the
            machine the last bits of a sum depend on, are added to it.
    """

    def __init__(self, model: str, seed: int, settings: Mapping[str, object]) -> None:
        self.key = unfinished.key({**settings, "model": model, "seed": seed}, model, "shiftlab.training.loop")
        self._path = unfinished.folder() / f"{model}-{seed}-{self.key[:16]}.pt"

    def load(self) -> State | None:
        """The state after the last finished epoch; None where there is none, or it is damaged."""
        state = store.read(self._path)
        if state is None:
            return None
        return State.from_dict(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))

    def save(self, state: State) -> None:
        """Replace what was there.

        Raises:
            OSError: as `files.write`.
        """
        buffer = io.BytesIO()
        torch.save(state.to_dict(), buffer)
        store.write(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Forget the training, once its weights are where they belong."""
        self._path.unlink(missing_ok=True)
