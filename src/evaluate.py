"""Stage `evaluate`: one model's metrics and plots, of every seed and boundary mode, added to its runs."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, evaluate

if __name__ == "__main__":
    with one_sentence():
        options = arguments.model(__doc__)
        evaluate.run(params.load(), options.model)
