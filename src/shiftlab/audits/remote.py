"""The audited model on other machines: its files are handed over, the rest is installed there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from shiftlab.audits import adapters
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing


@dataclass(frozen=True)
class RemoteModelSpec:
    """What a node makes the audited model from: `distributed.executor.RemoteModelSpec`."""

    model: str  # as the user names it
    options: ModelOptions
    preprocessing: Preprocessing
    files: dict[str, bytes]  # by what the user calls them

    @classmethod
    def of(cls, model: str, options: ModelOptions, preprocessing: Preprocessing) -> RemoteModelSpec:
        """Return that of a model which this machine has loaded, with its files."""
        names = [model, model.rpartition(":")[0], str(options.weights or "")]
        files = {name: Path(name).read_bytes() for name in names if name and Path(name).is_file()}
        return cls(model, options, preprocessing, files)

    def load(self) -> PreprocessedModel:
        """Return the model in evaluation mode.

        Raises:
            UserError: as `adapters.load`.
        """
        with tempfile.TemporaryDirectory() as folder:
            copies = {name: Path(folder, Path(name).name) for name in self.files}
            for name, content in self.files.items():
                copies[name].write_bytes(content)
            code, _, function = self.model.rpartition(":")
            address = f"{copies[code]}:{function}" if code in copies else str(copies.get(self.model, self.model))
            weights = copies.get(str(self.options.weights), self.options.weights)
            model = adapters.load(address, replace(self.options, weights=weights))
        return PreprocessedModel(replace(model, name=self.model), self.preprocessing).eval()
