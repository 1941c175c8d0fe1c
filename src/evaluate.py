"""Stage `evaluate`: one model's figures and pictures in every regime, from its predictions, added to its run."""

from pathlib import Path

from shiftlab import params, processor, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml and the predictions; write plots and the report of one model; log them."""
    arguments = stage.model_and_seed(__doc__)
    name, seed = arguments.model, arguments.seed
    wanted = params.load()
    settings = params.training(wanted, name)
    processor.prepare()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import files
    from shiftlab.measure import evaluation, predictions
    from shiftlab.show import tables
    from shiftlab.track import recording, runs
    from shiftlab.track.store import connect

    store = connect(wanted.data.name, wanted.tracking)
    label = f"{name}-{seed}"
    report = Path("reports", label)
    paths = {regime: predictions.path(name, seed, regime) for regime in wanted.evaluation.regimes}
    answers = {regime: predictions.load(path) for regime, path in paths.items()}
    predictions.keep_only(paths.values(), predictions.FOLDER / label)
    for regime, answered in answers.items():
        found = evaluation.evaluate(answered, wanted.evaluation.radius, wanted.evaluation.phase)
        tables.write_report(found, name, seed, report / regime)
        tables.write_confusions_for_dvc(answered, Path("plots", label, "confusion"))

    about = answers[wanted.evaluation.regimes[0]].about
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
    for regime, path in paths.items():
        recording.log_evaluation(run, regime, files.md5(path), report / regime)


if __name__ == "__main__":
    with one_sentence():
        main()
