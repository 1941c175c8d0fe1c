"""Stage `compare`: all models side by side, in one picture, one table and one file of metrics."""

import argparse
from pathlib import Path

from shiftlab import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data and all predictions; write reports/, plots/accuracy/ and metrics/comparison.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import comparison, data, predictions

    every = [(name, seed) for name in wanted.models for seed in wanted.seeds]
    predictions.keep_only(every)
    answers = {(name, seed): predictions.load(predictions.path(name, seed)) for name, seed in every}
    image = data.load(data.path(wanted.data.name)).test.images[0]

    comparison.write_curves(
        answers, wanted.evaluation.radius, picture=Path("reports/accuracy.png"), folder=Path("plots/accuracy")
    )
    comparison.write_last_cell(answers, image, Path("reports/image-0.png"))
    print(comparison.write_metrics(answers, Path("metrics/comparison.json"), Path("reports/results.md")))


if __name__ == "__main__":
    with one_sentence():
        main()
