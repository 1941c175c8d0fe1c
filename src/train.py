"""Stage `train`: fit one model with one seed, and keep the weights of its best validation epoch."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, train

if __name__ == "__main__":
    with one_sentence():
        options = arguments.model_and_seed(__doc__)
        train.run(params.load(), options.model, options.seed)
