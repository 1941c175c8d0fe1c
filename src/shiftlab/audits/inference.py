"""What `shifts.inference` needs of an audit: its images, where unfinished work is kept, its model on other machines."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from shiftlab.audits import adapters
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.images import Images
from shiftlab.audits.model import PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.shifts.store import Store


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """An audit's images as its preprocessing resizes and crops them: `shifts.inference.Images`."""

    images: Images
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.images)

    def chunks(self, margin: int, size: int, first: int) -> Iterator[Tensor]:
        """Yield as `shifts.inference.Images`."""
        return self.images.batches(self.preprocessing, margin, size, first)


def store(folder: Path | None, *facts: object) -> Store | None:
    """Return where unfinished predictions are kept that depend on these facts; None without a folder."""
    if folder is None:
        return None
    key = hashlib.sha256(json.dumps([str(fact) for fact in facts]).encode()).hexdigest()[:16]
    return Store(folder / key)


@dataclass(frozen=True)
class RemoteModelSpec:
    """What a node makes the audited model from: the files that it is in are handed over, the rest is installed."""

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
            places = {name: Path(folder, Path(name).name) for name in self.files}
            for name, content in self.files.items():
                places[name].write_bytes(content)
            address = self.model
            for name, place in places.items():
                if address == name or address.startswith(f"{name}:"):
                    address = f"{place}{address.removeprefix(name)}"
            weights = places.get(str(self.options.weights), self.options.weights)
            model = adapters.load(address, replace(self.options, weights=weights))
        return PreprocessedModel(replace(model, name=self.model), self.preprocessing).eval()
