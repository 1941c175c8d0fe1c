"""Stage `download`: get the images, verify them, split off validation and test sets, keep it all in one file."""

import argparse

from shiftlab.config import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, write data/NAME/dataset.safetensors."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load().data

    from shiftlab.data import dataset, sources  # seconds to import, so after a look at what can be refused without it

    whole = sources.build(wanted)
    dataset.save(whole, dataset.path(wanted.name))
    print(f"{wanted.name}: {dataset.describe(whole)}")


if __name__ == "__main__":
    with one_sentence():
        main()
