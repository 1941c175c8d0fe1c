"""Stage `study`: one variant of the study, trained with every seed, and what it predicts of shifted test images."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, study

if __name__ == "__main__":
    with one_sentence():
        options = arguments.variant(__doc__)
        study.run(params.load(), options.variant)
