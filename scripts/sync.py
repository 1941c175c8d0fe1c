"""What `make sync` does: log to MLflow, once, what its store lacks of the results that Git and DVC hold."""

import argparse

from shiftlab import repository
from shiftlab.errors import one_sentence


def main() -> None:
    """It has no options."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    repository.require()

    from shiftlab.tracking import syncing  # seconds to import

    syncing.sync()


if __name__ == "__main__":
    with one_sentence():
        main()
