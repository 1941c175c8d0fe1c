"""Stage `compare`: all models side by side, in plots, tables, one file of metrics and one report."""

from __future__ import annotations

import json
from pathlib import Path

from shiftlab import files
from shiftlab.config.params import Params
from shiftlab.data import dataset
from shiftlab.metrics import comparison, evaluation
from shiftlab.reports import explorer, names, plots, report, tables
from shiftlab.shifts import predictions
from shiftlab.tracking import recording
from shiftlab.tracking.store import connect

REPORT = Path("reports/study")


def run(config: Params) -> None:
    """Put all models side by side: write reports/, plots/ and metrics/; log a run."""
    settings = config.evaluation
    store = connect(config.data.name, config.tracking)
    trained = [(name, seed) for name in config.models for seed in config.seeds]
    keys = [(name, seed, boundary) for boundary in settings.boundaries for name, seed in trained]
    predictions.prune_files((predictions.path(*key) for key in keys), predictions.FOLDER)
    of_models = {key: predictions.load(predictions.path(*key)) for key in keys}
    metrics = {key: evaluation.evaluate(of_key, settings.radius, settings.phase) for key, of_key in of_models.items()}
    images = dataset.load(dataset.path(config.data.name)).test.images

    # Of the machine that each model was trained on: what a reader who doubts a number, and `make verify`, must know.
    paths = {f"{name}-{seed}": Path("models", f"{name}-{seed}.json") for name, seed in trained}
    made_on = {label: json.loads(path.read_text(encoding="utf-8")) for label, path in paths.items()}
    moved = {name: (of.augmentation or config.augmentation).model_dump() for name, of in config.models.items()}
    summary = {**comparison.summarise(metrics), "augmentation": moved, "made_on": made_on}
    pictures = plots.of_comparison(of_models, metrics, images)
    for boundary, name in comparison.boundaries(metrics).items():
        tables.write_curves(comparison.of_boundary(metrics, boundary), name, Path("plots/accuracy"))
    for name, picture in pictures.items():
        files.write(Path("plots/pictures", f"{name}.png"), picture)
    files.write(Path("reports/accuracy.png"), plots.against_shift(metrics, images))
    files.write(Path("reports/maps.png"), pictures[f"{summary['models'][0]['boundary']}-maps"])
    files.write(Path("reports/image-0.png"), pictures["image-0"])
    last_study = json.loads(Path("metrics/study.json").read_text(encoding="utf-8"))
    study = last_study if last_study["data"] == summary["data"] else None
    of_study = {"plane": (REPORT / "plane.png").read_bytes()}
    explored = explorer.parts(of_models, metrics, images, study)
    files.write(Path("reports/index.html"), report.page(summary, pictures, explored, study, of_study))
    files.write(Path("metrics/summary.json"), comparison.headline(summary))
    files.write(Path("metrics/comparison.json"), json.dumps(summary, indent=2, allow_nan=False) + "\n")
    title = f"# Results on {names.data_name(summary['data'])}"
    files.write(Path("reports/results.md"), f"{title}\n\n{report.tables(summary)}")
    print(f"{report.answer_table(summary, terminal=True).text()}\n{report.short_answer(summary)}")
    recording.log_comparison(store, summary["data"], Path("reports/index.html"), Path("plots/pictures"))
