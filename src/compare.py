"""Stage `compare`: all models side by side, in pictures, tables, one file of metrics and one report."""

import argparse
import json
from pathlib import Path

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data, all predictions and the last study; write reports/, plots/ and metrics/; log it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = params.load()
    settings = wanted.evaluation
    determinism.prepare()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import files
    from shiftlab.data import dataset
    from shiftlab.metrics import comparison, evaluation
    from shiftlab.reports import columns, explorer, plots, report, tables
    from shiftlab.shifts import predictions
    from shiftlab.tracking import recording
    from shiftlab.tracking.store import connect

    store = connect(wanted.data.name, wanted.tracking)
    keys = [
        (name, seed, boundary) for boundary in settings.boundaries for name in wanted.models for seed in wanted.seeds
    ]
    predictions.prune_files((predictions.path(*key) for key in keys), predictions.FOLDER)
    answers = {key: predictions.load(predictions.path(*key)) for key in keys}
    found = {key: evaluation.evaluate(one, settings.radius, settings.phase) for key, one in answers.items()}
    images = dataset.load(dataset.path(wanted.data.name)).test.images

    # Of the machine that each model was trained on: what a reader who doubts a number, and `make verify`, must know.
    paths = {f"{name}-{seed}": Path("models", f"{name}-{seed}.json") for name, seed, _ in keys}
    made_on = {label: json.loads(path.read_text(encoding="utf-8")) for label, path in paths.items()}
    moved = {name: (of.augmentation or wanted.augmentation).model_dump() for name, of in wanted.models.items()}
    summary = {**comparison.summarise(found), "augmentation": moved, "made_on": made_on}
    drawn = plots.of_comparison(answers, found, images)
    for boundary, name in comparison.boundaries(found).items():
        tables.write_curves(comparison.of_boundary(found, boundary), name, Path("plots/accuracy"))
    for name, picture in drawn.items():
        files.write(Path("plots/pictures", f"{name}.png"), picture)
    files.write(Path("reports/accuracy.png"), plots.against_shift(found, images))
    files.write(Path("reports/maps.png"), drawn[f"{summary['models'][0]['boundary']}-maps"])
    files.write(Path("reports/image-0.png"), drawn["image-0"])
    last_study = json.loads(Path("metrics/study.json").read_text(encoding="utf-8"))
    study = last_study if last_study["data"] == summary["data"] else None
    of_study = {"plane": Path("reports/study/plane.png").read_bytes()}
    explored = explorer.parts(answers, found, images, study)
    files.write(Path("reports/index.html"), report.page(summary, drawn, explored, study, of_study))
    files.write(Path("metrics/summary.json"), comparison.headline(summary))
    files.write(Path("metrics/comparison.json"), json.dumps(summary, indent=2, allow_nan=False) + "\n")
    title = f"# Results on {columns.data_name(summary['data'])}"
    files.write(Path("reports/results.md"), f"{title}\n\n{report.tables(summary)}")
    print(f"{report.how_much_text(summary)}\n{report.one_sentence(summary)}")
    recording.log_comparison(store, summary["data"], Path("reports/index.html"), Path("plots/pictures"))


if __name__ == "__main__":
    with one_sentence():
        main()
