"""Stage `compare`: all models side by side, in plots, tables, one file of metrics and one report."""

from shiftlab.pipeline import arguments

if __name__ == "__main__":
    arguments.run_stage("compare", __doc__)
