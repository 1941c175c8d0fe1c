"""What the stage scripts share: their arguments, and a progress bar."""

import argparse
import sys
from typing import Any

from tqdm import tqdm


def none(description: str) -> None:
    """Take no arguments, but for `--help`."""
    argparse.ArgumentParser(description=description).parse_args()


def model(description: str) -> argparse.Namespace:
    """Return the argument of a stage that works on one model, over its seeds: `model`."""
    return _parser(description).parse_args()


def model_and_seed(description: str) -> argparse.Namespace:
    """Return the arguments of a stage that works on one trained model: `model` and `seed`."""
    parser = _parser(description)
    parser.add_argument("seed", type=int, help="of the weights' first values and the order of the images")
    return parser.parse_args()


def variant(description: str) -> argparse.Namespace:
    """Return the argument of a stage that works on one variant of the study: `variant`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("variant", help="one of study.variants in params.yaml")
    return parser.parse_args()


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="name of an architecture that params.yaml selects")
    return parser


def progress(total: int, description: str, done: int = 0, hidden: bool = False) -> "tqdm[Any]":
    """A bar that counts images and estimates the time left; in a log it is a line every ten seconds.

    Args:
        done: how many of `total` an earlier attempt, now gone on with, has done.
    """
    if done:
        print(f"{description}: going on where an earlier attempt ended, {done / total:.0%} done", flush=True)
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        unit="img",
        unit_scale=True,
        disable=hidden,
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
