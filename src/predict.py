"""Stage `predict`: what one trained model predicts of every test image under shifts, in every boundary mode."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, predict

if __name__ == "__main__":
    with one_sentence():
        options = arguments.model_and_seed(__doc__)
        predict.run(params.load(), options.model, options.seed)
