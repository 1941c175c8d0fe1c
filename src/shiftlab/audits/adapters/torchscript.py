"""A TorchScript file; or a file of torch.save, which is a pickle, where the user trusts it."""

import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from shiftlab import files
from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.modules import of_module, refusal
from shiftlab.errors import UserError


def load(what: str, given: Given) -> Model:
    """The file's module.

    Raises:
        UserError: no such file; a state dict, which needs an architecture; any other pickle, unless it is trusted.
    """
    path = Path(what)
    if not path.is_file():
        raise UserError(f"no file at {path}: name the model's file")
    if not _is_torchscript(path):
        return _of_pickle(path, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript will go some day
        try:
            module = torch.jit.load(str(path), map_location=given.device)
        except RuntimeError as error:
            raise UserError(f"{path} can't be read as TorchScript ({str(error).splitlines()[0][:200]})") from None
        module.eval()
    return Model(path.name, "torchscript", module, digest=files.sha256(path), module=module)


def _is_torchscript(path: Path) -> bool:
    """TorchScript's archives hold code of its own language, which those of torch.save don't."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _of_pickle(path: Path, given: Given) -> Model:
    try:
        found = torch.load(path, map_location="cpu", weights_only=not given.trust_pickle)
    except Exception as error:
        raise UserError(refusal(path, error)) from None
    if isinstance(found, nn.Module):
        return of_module(found, path.name, "pickle", given)
    raise UserError(
        f"{path} holds weights without their architecture: name that too, as in timm:NAME --weights {path}, or write a "
        "function that returns the model, and give file.py:function"
    )
