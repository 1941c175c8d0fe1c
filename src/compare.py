"""Stage `compare`: all models side by side, in pictures, tables, one file of metrics and one report."""

import argparse
from pathlib import Path

from shiftlab import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data and all predictions; write reports/, plots/ and metrics/; log it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load()
    settings = wanted.evaluation

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import comparison, data, evaluation, files, predictions, recording, report, tracking

    tracker = tracking.Tracker(wanted.data.name, wanted.tracking)
    keys = [(name, seed, regime) for regime in settings.regimes for name in wanted.models for seed in wanted.seeds]
    predictions.keep_only((predictions.path(*key) for key in keys), predictions.FOLDER)
    answers = {key: predictions.load(predictions.path(*key)) for key in keys}
    found = {key: evaluation.figures(one, settings.radius, settings.phase) for key, one in answers.items()}
    images = data.load(data.path(wanted.data.name)).test.images

    summary = comparison.summarise(answers, found)
    drawn = comparison.pictures(answers, found, images)
    comparison.write_curves(found, Path("plots/accuracy"))
    for name, picture in drawn.items():
        files.write(Path("plots/pictures", f"{name}.png"), picture)
    for name in ("accuracy", "maps"):
        files.write(Path("reports", f"{name}.png"), drawn[f"{summary['models'][0]['regime']}-{name}"])
    files.write(Path("reports/image-0.png"), drawn["image-0"])
    files.write(Path("reports/index.html"), report.page(summary, drawn))
    files.write(Path("metrics/summary.json"), comparison.headline(summary))
    print(comparison.write_summary(summary, Path("metrics/comparison.json"), Path("reports/results.md")))
    recording.log_comparison(tracker, summary["data"], Path("reports/index.html"), Path("plots/pictures"))


if __name__ == "__main__":
    with one_sentence():
        main()
