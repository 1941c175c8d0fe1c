"""Stage `evaluate`: one model's figures and pictures in one regime, from its predictions, added to its run."""

from pathlib import Path

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml and the predictions; write plots and the report of one model; log them."""
    arguments = stage.model_seed_and_regime(__doc__)
    name, seed, regime = arguments.model, arguments.seed, arguments.regime
    wanted = params.load()
    settings = params.training(wanted, name)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import evaluation, files, predictions, recording, tracking

    tracker = tracking.Tracker(wanted.data.name, wanted.tracking)
    path = predictions.path(name, seed, regime)
    answers = predictions.load(path)
    found = evaluation.figures(answers, wanted.evaluation.radius, wanted.evaluation.phase)

    label = f"{name}-{seed}-{regime}"
    folder = Path("reports", label)
    evaluation.write_confusions_for_dvc(answers, Path("plots", label, "confusion"))
    evaluation.write_report(found, name, seed, folder)

    about = answers.about
    identity = tracking.Identity(about.data, about.data_md5, name, seed)
    run = tracker.find(about.weights_md5) or recording.restore_training(
        tracker,
        identity,
        {"recipe": wanted.recipe, "device": wanted.device, **settings.model_dump()},
        Path("models", f"{name}-{seed}.safetensors"),
        about.size,
        Path("plots", f"{name}-{seed}", "history.csv").read_text(encoding="utf-8"),
    )
    recording.log_evaluation(tracker, run, regime, files.md5(path), folder)


if __name__ == "__main__":
    with one_sentence():
        main()
