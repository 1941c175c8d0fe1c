"""Stage `download`: get the images, verify them, split off validation and test sets, keep it all in one file."""

from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments, download

if __name__ == "__main__":
    with one_sentence():
        arguments.none(__doc__)
        download.run(params.load())
