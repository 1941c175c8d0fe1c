"""Stage `evaluate`: one model's metrics and pictures in every boundary, from its predictions, added to its run."""

from pathlib import Path

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.errors import one_sentence
from shiftlab.pipeline import arguments


def main() -> None:
    """Read params.yaml and the predictions; write plots and the report of one model; log them."""
    options = arguments.model_and_seed(__doc__)
    name, seed = options.model, options.seed
    wanted = params.load()
    settings = params.training(wanted, name)
    determinism.prepare()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import files
    from shiftlab.metrics import evaluation
    from shiftlab.reports import tables
    from shiftlab.shifts import predictions
    from shiftlab.tracking import recording, runs
    from shiftlab.tracking.store import connect

    store = connect(wanted.data.name, wanted.tracking)
    label = f"{name}-{seed}"
    report = Path("reports", label)
    paths = {boundary: predictions.path(name, seed, boundary) for boundary in wanted.evaluation.boundaries}
    answers = {boundary: predictions.load(path) for boundary, path in paths.items()}
    predictions.prune_files(paths.values(), predictions.FOLDER / label)
    for boundary, answered in answers.items():
        found = evaluation.evaluate(answered, wanted.evaluation.radius, wanted.evaluation.phase)
        tables.write_report(found, name, seed, report / boundary)
        tables.write_confusions_for_dvc(answered, Path("plots", label, "confusion"))

    about = answers[wanted.evaluation.boundaries[0]].about
    identity = runs.Identity(about.data, about.data_md5, name, seed)
    run = runs.find(store, about.weights_md5) or recording.restore_training(
        store,
        identity,
        params.recorded(
            wanted.recipe, wanted.augmentation, wanted.device, wanted.threads, wanted.determinism, settings
        ),
        Path("models", f"{label}.safetensors"),
        about.shape,
        about.classes,
        Path("plots", label, "history.csv").read_text(encoding="utf-8"),
    )
    for boundary, path in paths.items():
        recording.log_evaluation(run, boundary, files.md5(path), report / boundary)


if __name__ == "__main__":
    with one_sentence():
        main()
