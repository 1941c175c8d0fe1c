"""Stage `download`: get the images, verify them, split off validation and test sets, keep it all in one file."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("download", __doc__)
