"""What the stage scripts share: their arguments, and a progress bar."""

import argparse
import sys
from typing import Any, get_args

from tqdm import tqdm

from shiftlab.config.params import BoundaryName


def model_and_seed(description: str) -> argparse.Namespace:
    """The arguments of a stage that works on one model: `model` and `seed`."""
    return _parser(description).parse_args()


def model_seed_and_boundary(description: str) -> argparse.Namespace:
    """The arguments of a stage that works on one model in one boundary: `model`, `seed` and `boundary`."""
    parser = _parser(description)
    parser.add_argument("boundary", choices=get_args(BoundaryName), help="what happens at the edge of a shifted image")
    return parser.parse_args()


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="name of an architecture that params.yaml selects")
    parser.add_argument("seed", type=int, help="of the weights' first values and the order of the images")
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
