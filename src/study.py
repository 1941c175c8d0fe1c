"""Stage `study`: one variant of the study, trained with every seed, and what it predicts of shifted test images."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("study", __doc__, "variant")
