"""Stage `download`: get the images, verify them, split off validation and test sets, keep it all in one file."""

import argparse

from shiftlab.config import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, write data/NAME/dataset.safetensors."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    data = params.load().data

    from shiftlab.data import dataset, prepare  # seconds to import, so after a look at what can be refused without it

    examples = prepare.build_dataset(data)
    dataset.save(examples, dataset.path(data.name))
    print(f"{data.name}: {dataset.describe(examples)}")


if __name__ == "__main__":
    with one_sentence():
        main()
