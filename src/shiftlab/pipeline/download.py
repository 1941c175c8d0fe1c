"""Stage `download`: get the images, verify them, split off validation and test sets, keep it all in one file."""

from __future__ import annotations

from shiftlab.config.params import Params
from shiftlab.data import dataset, prepare


def run(config: Params) -> None:
    """Get the images, verify them, split off validation and test sets: write data/NAME/dataset.safetensors."""
    data = config.data
    examples = prepare.build_dataset(data)
    dataset.save(examples, dataset.path(data.name))
    print(f"{data.name}: {dataset.describe(examples)}")
