"""A .pt2 file, of torch.export."""

import contextlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from shiftlab import files
from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.preprocessing import of_shape
from shiftlab.errors import UserError

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # PyTorch reads it at every torch.load
# Constants that are no tensors, which are unpickled whatever is said, and compiled libraries, which are loaded.
CODE = re.compile(r"constants/(?!tensor_|.*_config\.json$).+|aotinductor/.+")


def load(what: str, given: Given) -> Model:
    """The exported program.

    Raises:
        UserError: no such file, or not an exported program.
    """
    path = Path(what)
    if not path.is_file():
        raise UserError(f"no file at {path}: name the file that torch.export.save wrote")
    _refuse_code(path, given.trust_pickle)
    try:
        with tensors_alone(given.trust_pickle):
            program = torch.export.load(path)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be read as an exported program ({reason[:200]})") from None
    module = program.module().to(given.device)
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
    images = [one for one in inputs if one.ndim in (3, 4)][-1:]
    sizes = [_fixed(size) for size in images[0].shape] if images else []
    digest = files.sha256(path)
    return Model(path.name, "torch.export", module, of_shape(sizes[1:]), digest, batch=sizes[0] if sizes else None)


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


def _fixed(size: object) -> int | None:
    """A side's length, None where the program leaves it free."""
    return size if isinstance(size, int) else None
