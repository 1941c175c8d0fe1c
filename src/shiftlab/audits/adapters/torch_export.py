"""A .pt2 file, of torch.export."""

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from shiftlab import files
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.audits.modules import reading
from shiftlab.audits.preprocessing import hints_of_inputs
from shiftlab.config.audit import place
from shiftlab.errors import UserError

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # PyTorch reads it at every torch.load
# Constants that are no tensors, which are unpickled whatever is said, and compiled libraries, which are loaded.
CODE = re.compile(r"constants/(?!tensor_|.*_config\.json$).+|aotinductor/.+")


def load(name: str, options: ModelOptions) -> Model:
    """Return the exported program."""
    path = Path(name)
    with reading(path, "an exported program"):
        if options.trust_pickle:
            program = torch.export.load(path)
        else:
            _refuse_code(path)
            with _tensors_only():
                program = torch.export.load(path)
    module = program.module().to(options.device)
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
    images = [(tensor.shape, tensor.dtype) for tensor in inputs if tensor.ndim in (3, 4)]
    shape, dtype = images[-1] if images else ((None,), torch.float32)
    # A side that the program leaves free is no int.
    count, *sizes = [size if isinstance(size, int) else None for size in shape]
    hints = hints_of_inputs(sizes, dtype)
    return Model(place(path), "torch.export", module, hints, files.sha256(path), batch=count, dtype=dtype)


def _refuse_code(path: Path) -> None:
    """Refuse an archive that holds more than a graph and tensors: torch.export.load would run it."""
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/data/")[2] for name in archive.namelist()]
    if code := next(filter(CODE.match, names), None):
        raise UserError(
            f"{path} holds a pickle or machine code ({code}), which could do anything: export it without custom "
            "objects, or read it with --trust-pickle"
        )


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Have torch.load read tensors and nothing else, whoever calls it."""
    before = os.environ.get(FORCED)
    os.environ[FORCED] = "1"
    try:
        yield
    finally:
        del os.environ[FORCED]
        if before is not None:
            os.environ[FORCED] = before
