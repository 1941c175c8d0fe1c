"""Stage `train`: fit one model with one seed, and keep the weights of its best validation epoch."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("train", __doc__, "model", "seed")
