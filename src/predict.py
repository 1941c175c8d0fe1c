"""Stage `predict`: what one trained model predicts of every test image under shifts, in every boundary mode."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("predict", __doc__, "model", "seed")
