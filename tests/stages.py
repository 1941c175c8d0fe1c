"""The pipeline's stages in the process of a test: what DVC would start one by one, each with seconds of imports."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.utils.hydra import compose_and_dump

from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.pipeline import compare, download, evaluate, predict, train
from tests.helpers import ROOT

QUICK = ["evaluation.radius=2", "evaluation.phase=2", "evaluation.boundaries=[zero]", "seeds=[0]", "threads=1"]


def config(folder: Path, *overrides: str) -> Params:
    """Return the parameters that `dvc exp run -S ...` would compose, on few shifts, with one epoch of training."""
    compose_and_dump(folder / "params.yaml", str(ROOT / "conf"), None, "config", "", [*QUICK, *overrides])
    composed = params.load(folder / "params.yaml")
    once = {name: settings.model_copy(update={"epochs": 1}) for name, settings in composed.models.items()}
    return composed.model_copy(update={"models": once})


@contextmanager
def workspace(folder: Path) -> Iterator[None]:
    """Work in a folder that has what stages find in a repository: a store of its own, the results of the last study."""
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "GIT_"))]:
            patched.delenv(name)
        # Of a name of its own, since MLflow keeps a store open by its relative address.
        patched.setenv("DVC_ROOT", str(folder / f"root of {folder.name}"))
        (folder / f"root of {folder.name}").mkdir()
        patched.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
        patched.chdir(folder)
        for path in ("metrics/study.json", "reports/study/plane.png"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
        before = dict(os.environ)
        yield
        os.environ.clear()  # of what stages set for PyTorch
        os.environ.update(before)


def run(parameters: Params) -> None:
    """Run all stages of the pipeline, in the working directory."""
    download.run(parameters)
    for model in parameters.models:
        for seed in parameters.seeds:
            train.run(parameters, model, seed)
            predict.run(parameters, model, seed)
        evaluate.run(parameters, model)
    compare.run(parameters)
