"""How dvc.yaml's commands, src/train.py and the others, run a stage, and the progress bar of stages."""

import argparse
import importlib
import sys
from typing import Any

from tqdm import tqdm

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.config.params import Determinism
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


def run_stage(stage: str, description: str | None, *names: str) -> None:
    """Run a stage of this package on params.yaml, with the command's arguments, which have `names` in `ARGUMENTS`.

    Raises:
        SystemExit: status 2 and the usage for other arguments; as `errors.one_sentence`.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(name, **ARGUMENTS[name])
    arguments = parser.parse_args()
    with one_sentence():
        config = params.load()
        if (seed := vars(arguments).get("seed")) not in (None, *config.seeds):
            raise UserError(
                f"seed {seed} is not among those that params.yaml selects ({', '.join(map(str, config.seeds))}): "
                "choose it with `dvc exp run -S 'seeds=[SEED]'`"
            )
        determinism.prepare(DETERMINISM.get(stage, config.determinism))  # before the stage imports PyTorch
        run = importlib.import_module(f"shiftlab.pipeline.{stage}").run
        run(config, *(getattr(arguments, name) for name in names))


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
