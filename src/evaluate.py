"""Stage `evaluate`: one model's figures and pictures in one regime, from its predictions, added to its run."""

import json
from pathlib import Path

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml and the predictions; write metrics, plots and the report of one model; log them."""
    arguments = stage.model_seed_and_regime(__doc__)
    name, seed, regime = arguments.model, arguments.seed, arguments.regime
    wanted = params.load()
    settings = params.training(wanted, name)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import evaluation, predictions, tracking

    tracker = tracking.Tracker(wanted.data.name)
    answers = predictions.load(predictions.path(name, seed, regime))
    found = evaluation.figures(answers, wanted.evaluation.radius, wanted.evaluation.phase)

    label = f"{name}-{seed}-{regime}"
    folder = Path("reports", label)
    evaluation.write_metrics(found, Path("metrics", f"{label}.json"))
    evaluation.write_confusions_for_dvc(answers, Path("plots", label, "confusion"))
    evaluation.write_report(found, name, seed, folder)

    about = answers.about
    identity = tracking.Identity(about.data, about.data_sha256, name, seed)
    run = tracker.trained(identity, {"recipe": wanted.recipe, **settings.model_dump()}, about.weights_sha256)
    run.log_tag("evaluation", json.dumps(wanted.evaluation.model_dump()))
    figures = found.accuracies | found.summary
    run.log_metrics({f"{regime}/{figure}": one.value for figure, one in figures.items()})
    run.log_metrics({f"{regime} low/{figure}": one.low for figure, one in figures.items()})
    run.log_metrics({f"{regime} high/{figure}": one.high for figure, one in figures.items()})
    for direction, curve in found.curves.items():
        run.log_curve(f"{regime}/accuracy along {direction}", [(step, one.value) for step, one in curve])
    run.log_curve(f"{regime}/accuracy at radius", [(at.radius, at.accuracy.value) for at in found.radii])
    run.log_curve(f"{regime}/worst case within radius", [(at.radius, at.worst_case.value) for at in found.radii])
    run.log_metrics({"cost/parameters": about.parameters, "cost/multiply-adds of an image": about.multiply_adds})
    run.log_path(folder, f"evaluation/{regime}")


if __name__ == "__main__":
    with one_sentence():
        main()
