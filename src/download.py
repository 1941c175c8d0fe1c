"""Stage `download`: get the images, verify them, split off a validation set, keep it all in one file."""

import argparse

from shiftlab import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, write data/NAME/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load().data

    from shiftlab import (
        data,
        sources,
    )  # PyTorch comes with them: after a look at what can be refused without it

    path = data.path(wanted.name)
    train, test = sources.acquire(wanted.name, path.parent, wanted.mirrors)
    rest, validation = data.split(train, wanted.validation, wanted.split_seed)
    data.save(data.Dataset(rest, validation, test), path)
    print(f"{wanted.name}: {len(rest):,} training, {len(validation):,} validation, {len(test):,} test images")


if __name__ == "__main__":
    with one_sentence():
        main()
