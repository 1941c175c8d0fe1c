"""A TorchScript file; or a file of torch.save, which is a pickle, where the user trusts it."""

import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import from_module, load_pickle, reading, type_of
from shiftlab.config.audit import place
from shiftlab.errors import UserError


def load(name: str, options: ModelOptions) -> Model:
    """Return the file's module; a state dict is refused, since it needs an architecture."""
    path = Path(name)
    with reading(path, "TorchScript"), warnings.catch_warnings():
        if _is_torchscript(path):
            warnings.simplefilter("ignore")  # that TorchScript will go some day
            script = torch.jit.load(str(path), map_location=options.device).eval()
            digest = files.sha256(path)
            return Model(place(path), "torchscript", script, digest=digest, module=script, dtype=type_of(script))
    module = load_pickle(path, options.trust_pickle)
    if isinstance(module, nn.Module):
        return from_module(module, place(path), "pickle", options)
    raise UserError(
        f"{path} holds weights without their architecture: name that too, as in timm:NAME --weights {path}, or write a "
        "function that returns the model, and give file.py:function"
    )


def _is_torchscript(path: Path) -> bool:
    """Return whether an archive holds code of TorchScript's own language, which those of torch.save don't."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
