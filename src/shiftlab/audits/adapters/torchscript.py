"""A TorchScript file; or a file of torch.save, which is a pickle, where the user trusts it."""

import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import existing, from_module, reason, refusal
from shiftlab.errors import UserError


def load(name: str, options: ModelOptions) -> Model:
    """Return the file's module.

    Raises:
        UserError: no such file; a state dict, which needs an architecture; any other pickle, unless it is trusted.
    """
    path = existing(name)
    if not _is_torchscript(path):
        return _from_pickle(path, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript will go some day
        try:
            module = torch.jit.load(str(path), map_location=options.device)
        except RuntimeError as error:
            raise UserError(f"{path} can't be read as TorchScript ({reason(error)})") from None
        module.eval()
    return Model(path.name, "torchscript", module, digest=files.sha256(path), module=module)


def _is_torchscript(path: Path) -> bool:
    """Return whether an archive holds code of TorchScript's own language, which those of torch.save don't."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _from_pickle(path: Path, options: ModelOptions) -> Model:
    try:
        content = torch.load(path, map_location="cpu", weights_only=not options.trust_pickle)
    except Exception as error:
        raise UserError(refusal(path, error)) from None
    if isinstance(content, nn.Module):
        return from_module(content, path.name, "pickle", options)
    raise UserError(
        f"{path} holds weights without their architecture: name that too, as in timm:NAME --weights {path}, or write a "
        "function that returns the model, and give file.py:function"
    )
