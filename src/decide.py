"""Stage `decide`: every claim of the study and its verdict, from what all variants predicted."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, decide

if __name__ == "__main__":
    with one_sentence():
        arguments.none(__doc__)
        decide.run(params.load())
