"""Stage `evaluate`: one model's metrics and plots, of every seed and boundary mode, added to its runs."""

from __future__ import annotations

from pathlib import Path

from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.metrics import evaluation
from shiftlab.reports import tables
from shiftlab.shifts import predictions
from shiftlab.tracking import recording, runs
from shiftlab.tracking.history import folder_digest
from shiftlab.tracking.store import connect


def run(config: Params, name: str) -> None:
    """Compute a model's metrics from its predictions, for every seed and boundary mode: write tables and plots; log."""
    settings = params.training(config, name)
    choices = params.recorded(
        config.recipe, config.augmentation, config.device, config.threads, config.determinism, settings
    )
    store = connect(config.data.name, config.tracking)
    modes = config.evaluation.boundaries
    paths = [predictions.path(name, seed, boundary) for seed in config.seeds for boundary in modes]
    predictions.prune_files(paths, predictions.FOLDER / name)
    for seed in config.seeds:
        report = Path("reports", name, str(seed))
        for boundary in modes:
            of_boundary = predictions.load(predictions.path(name, seed, boundary))
            metadata = of_boundary.metadata
            metrics = evaluation.evaluate(of_boundary, config.evaluation.radius, config.evaluation.phase)
            tables.write_report(metrics, name, seed, report / boundary)
            tables.write_confusions_for_dvc(of_boundary, Path("plots", name, "confusion"), seed)
        run = runs.find(store, metadata.weights_md5) or recording.restore_training(
            store,
            runs.Identity(metadata.data, metadata.data_md5, name, seed, metadata.shape, metadata.classes),
            choices,
            Path("models", f"{name}-{seed}.safetensors"),
            Path("plots", f"{name}-{seed}", "history.csv").read_text(encoding="utf-8"),
        )
        digest = folder_digest(predictions.FOLDER / name / str(seed))
        for boundary in modes:
            recording.log_evaluation(run, boundary, digest, report / boundary)
