"""A .pt2 file, of torch.export."""

import contextlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import existing, reason
from shiftlab.audits.preprocessing import hints_of_shape
from shiftlab.errors import UserError

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # PyTorch reads it at every torch.load
# Constants that are no tensors, which are unpickled whatever is said, and compiled libraries, which are loaded.
CODE = re.compile(r"constants/(?!tensor_|.*_config\.json$).+|aotinductor/.+")


def load(name: str, options: ModelOptions) -> Model:
    """Return the exported program.

    Raises:
        UserError: no such file, or not an exported program.
    """
    path = existing(name, "name the file that torch.export.save wrote")
    _refuse_code(path, options.trust_pickle)
    try:
        with tensors_alone(options.trust_pickle):
            program = torch.export.load(path)
    except Exception as error:
        raise UserError(f"{path} can't be read as an exported program ({reason(error)})") from None
    module = program.module().to(options.device)
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
    shapes = [tensor.shape for tensor in inputs if tensor.ndim in (3, 4)]
    # A side that the program leaves free is no int.
    first, *sizes = [size if isinstance(size, int) else None for size in shapes[-1]] if shapes else [None]
    return Model(path.name, "torch.export", module, hints_of_shape(sizes), files.sha256(path), batch=first)


def _refuse_code(path: Path, trust_pickle: bool) -> None:
    """Refuse an archive that holds more than a graph and tensors: torch.export.load would run it.

    Raises:
        UserError: it does, and nobody trusts it; it is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/data/")[2] for name in archive.namelist() if "/data/" in name]
    except zipfile.BadZipFile:
        raise UserError(f"{path} can't be read as an exported program (it is no archive)") from None
    objects = [name for name in names if CODE.match(name)]
    if objects and not trust_pickle:
        raise UserError(
            f"{path} holds a pickle or machine code ({objects[0]}), which could do anything: export it without custom "
            "objects, or read it with --trust-pickle"
        )


@contextlib.contextmanager
def tensors_alone(trust_pickle: bool) -> Iterator[None]:
    """Have torch.load read tensors and nothing else, whoever calls it."""
    before = os.environ.get(FORCED)
    if not trust_pickle:
        os.environ[FORCED] = "1"
    try:
        yield
    finally:
        os.environ.pop(FORCED, None)
        if before is not None:
            os.environ[FORCED] = before
