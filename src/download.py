"""Stage `download`: get the images, verify them, split off a validation set, keep it all in one file."""

import argparse

from shiftlab import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, write data/NAME/."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load().data

    # Seconds to import, so after a look at what can be refused without it.
    import numpy as np

    from shiftlab import canvas, data, sources

    path = data.path(wanted.name)
    train, test = sources.acquire(wanted.source, path.parent, wanted.mirrors)
    rest, validation = data.split(train, wanted.validation, wanted.split_seed)
    if wanted.canvas:
        rng = np.random.default_rng(wanted.split_seed) if wanted.placement == "random" else None
        rest, validation = (canvas.lay(part, wanted.canvas, rng) for part in (rest, validation))
        test = canvas.lay(test, wanted.canvas)
    data.save(data.Dataset(rest, validation, test), path)
    print(f"{wanted.name}: {len(rest):,} training, {len(validation):,} validation, {len(test):,} test images")


if __name__ == "__main__":
    with one_sentence():
        main()
