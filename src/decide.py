"""Stage `decide`: every claim of the study and its verdict, from what all variants predicted."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("decide", __doc__)
