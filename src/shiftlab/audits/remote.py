"""The audited model on other machines: its files are handed over, the rest is installed there."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from shiftlab.audits import adapters
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing


def loader(model: str, options: ModelOptions, preprocessing: Preprocessing) -> Callable[[], PreprocessedModel]:
    """Return a function that can be pickled, and loads the model where its files are not."""
    names = [model, model.rpartition(":")[0], str(options.weights or "")]
    files = {name: Path(name).read_bytes() for name in names if name and Path(name).is_file()}
    return partial(_load, model, options, preprocessing, files)


def _load(
    name: str, options: ModelOptions, preprocessing: Preprocessing, files: Mapping[str, bytes]
) -> PreprocessedModel:
    """Return a model in evaluation mode, from the contents of files by what the user calls them."""
    with tempfile.TemporaryDirectory() as folder:
        copies = {file: Path(folder, Path(file).name) for file in files}
        for file, content in files.items():
            copies[file].write_bytes(content)
        code, _, function = name.rpartition(":")
        address = f"{copies[code]}:{function}" if code in copies else str(copies.get(name, name))
        weights = copies.get(str(options.weights), options.weights)
        model = adapters.load(address, replace(options, weights=weights))
    return PreprocessedModel(replace(model, name=name), preprocessing).eval()
