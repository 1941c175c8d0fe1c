"""Checkpoints: where an unfinished training waits for the next attempt."""

import io
from collections.abc import Mapping

import torch

from shiftlab import unfinished
from shiftlab.shifts import store
from shiftlab.training.loop import State


class Checkpoint:
    """The file of one training; another learning rate, seed, data set, code or PyTorch has another file.

    Args:
        settings: what the weights depend on besides code and machine, in JSON's types.
    """

    def __init__(self, model: str, seed: int, settings: Mapping[str, object]) -> None:
        self.key = unfinished.key({**settings, "model": model, "seed": seed}, model, "shiftlab.training.loop")
        self._path = unfinished.path(f"{model}-{seed}", self.key).with_suffix(".pt")

    def load(self) -> State | None:
        """Return the state after the last finished epoch; None where there is none, or it is damaged."""
        content = store.read(self._path)
        if content is None:
            return None
        return State.from_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))

    def save(self, state: State) -> None:
        """Replace the earlier state.

        Raises:
            OSError: as `files.write`.
        """
        buffer = io.BytesIO()
        torch.save(state.to_dict(), buffer)
        store.write(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file, once the weights are where they belong."""
        self._path.unlink(missing_ok=True)
