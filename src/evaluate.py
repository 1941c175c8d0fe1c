"""Stage `evaluate`: one model's figures and pictures, from its predictions, added to its run."""

import json
from pathlib import Path

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml and the predictions; write metrics, plots and the report of one model; log them."""
    arguments = stage.model_and_seed(__doc__)
    name, seed = arguments.model, arguments.seed
    wanted = params.load()
    settings = params.training(wanted, name)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import evaluation, predictions, tracking

    tracker = tracking.Tracker(wanted.data.name)
    answers = predictions.load(predictions.path(name, seed))
    found = evaluation.figures(answers, wanted.evaluation.radius)

    report = Path("reports", f"{name}-{seed}")
    evaluation.write_metrics(found, answers.data, Path("metrics", f"{name}-{seed}.json"))
    evaluation.write_confusions_for_dvc(answers, Path("plots", f"{name}-{seed}", "confusion"))
    evaluation.write_report(found, name, seed, answers.data, report)

    identity = tracking.Identity(answers.data, answers.data_sha256, name, seed)
    run = tracker.trained(identity, {"recipe": wanted.recipe, **settings.model_dump()}, answers.weights_sha256)
    run.log_tag("evaluation", json.dumps(wanted.evaluation.model_dump()))
    for figure in ("accuracy", "low", "high"):
        run.log_metrics({f"{key}/{figure}": getattr(share, figure) for key, share in found.accuracies.items()})
    for direction, curve in found.curves.items():
        run.log_curve(f"shift/accuracy along {direction}", [(step, share.accuracy) for step, share in curve])
    run.log_path(report, "evaluation")


if __name__ == "__main__":
    with one_sentence():
        main()
