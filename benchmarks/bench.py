"""What `make bench` does: measure shiftlab against the ordinary way, and save the ratios."""

import argparse

from shiftlab import determinism
from shiftlab.errors import one_sentence


def main() -> None:
    """Into benchmarks/results.md, or with --quick into benchmarks/quick.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and images, some seven minutes")
    quick = parser.parse_args().quick

    determinism.prepare("native")
    from measure import measure  # seconds to import, so after a look at the arguments

    measure(quick)


if __name__ == "__main__":
    with one_sentence():
        main()
