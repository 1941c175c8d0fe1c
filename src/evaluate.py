"""Stage `evaluate`: one model's metrics and plots, of every seed and boundary mode, added to its runs."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("evaluate", __doc__, "model")
