"""How dvc.yaml's commands, src/train.py and the others, run a stage, and the progress bar of stages."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from shiftlab import determinism, files
from shiftlab.config import params
from shiftlab.config.params import Determinism, Params
from shiftlab.errors import UserError, one_sentence

ARGUMENTS: dict[str, dict[str, Any]] = {
    "model": {"help": "name of an architecture that params.yaml selects"},
    "seed": {"help": "seed of the weights' first values and of the order of the images", "type": int},
    "variant": {"help": "one of study.variants in params.yaml"},
}
# Of stages that do not leave it to params.yaml.
DETERMINISM: dict[str, Determinism] = {
    "download": "native",
    "evaluate": "portable",
    "compare": "portable",
    "decide": "portable",
}
RUNNER = "SHIFTLAB_RUNNER"  # set for stages that `runner.run` starts
NOTES = Path(".dvc/tmp/params")  # what params.yaml held as commands began that run stages


def run_stage(stage: str, description: str | None, *names: str) -> None:
    """Run a stage of this package on params.yaml, with the command's arguments, which have `names` in `ARGUMENTS`.

    Raises:
        SystemExit: status 2 and the usage for other arguments; as `errors.one_sentence`, and where params.yaml has
            changed since the command that runs stages began.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(name, **ARGUMENTS[name])
    arguments = parser.parse_args()
    with one_sentence():
        config = params.load()
        refuse_changes(config)
        if (seed := vars(arguments).get("seed")) not in (None, *config.seeds):
            raise UserError(
                f"seed {seed} is not among those that params.yaml selects ({', '.join(map(str, config.seeds))}): "
                "choose it with `dvc exp run -S 'seeds=[SEED]'`"
            )
        determinism.prepare(DETERMINISM.get(stage, config.determinism))  # before the stage imports PyTorch
        run = importlib.import_module(f"shiftlab.pipeline.{stage}").run
        run(config, *(getattr(arguments, name) for name in names))
        refuse_changes()  # DVC records what params.yaml holds as a stage ends


def refuse_changes(config: Params | None = None) -> None:
    """Refuse parameters that are not those with which DVC's command, or `make run` and its like, began.

    DVC writes params.yaml for a second `dvc exp run` while the first runs a stage. The command's first stage notes what
    it has read.

    Args:
        config: what the stage has read; None: read it now.

    Raises:
        UserError: they have changed.
    """
    if "DVC_STAGE" not in os.environ:
        return
    within = {"DVC_STAGE", RUNNER}
    command = next(process for process in psutil.Process().parents() if not within & process.environ().keys())
    note, content = NOTES / f"{command.pid}-{command.create_time()}", (config or params.load()).model_dump_json()
    if not note.exists():
        for other in NOTES.glob("*-*"):
            if not psutil.pid_exists(int(other.name.partition("-")[0])):
                other.unlink(missing_ok=True)
        files.write(note, content)
    elif note.read_text(encoding="utf-8") != content:
        raise UserError(
            "params.yaml has changed since this command began, as by a second `dvc exp run` in this folder: run "
            "experiments beside each other with `dvc exp run --temp`, or one after the other in the queue (`dvc exp "
            "run --queue`, then `dvc queue start`), and run this one again"
        )


def progress(total: int, description: str, completed: int = 0, hidden: bool = False) -> "tqdm[Any]":
    """Return a bar that counts images and estimates the time left; in a log it is a line every ten seconds.

    Args:
        completed: how many of `total` an earlier attempt, which is resumed, has done.
    """
    if completed:
        print(f"{description}: going on where an earlier attempt ended, {completed / total:.0%} done", flush=True)
    return tqdm(
        desc=description,
        total=total,
        initial=completed,
        unit="img",
        unit_scale=True,
        disable=hidden,
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
