"""Stage `compare`: all models side by side, in plots, tables, one file of metrics and one report."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, compare

if __name__ == "__main__":
    with one_sentence():
        arguments.none(__doc__)
        compare.run(params.load())
