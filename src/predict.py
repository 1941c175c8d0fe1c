"""Stage `predict`: what one trained model calls every test image under every shift, in one regime."""

import timeit
from functools import partial
from statistics import median

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data and the weights; write predictions/MODEL-SEED-REGIME.safetensors; log the cost."""
    arguments = stage.model_seed_and_regime(__doc__)
    name, seed, regime = arguments.model, arguments.seed, arguments.regime
    wanted = params.load()
    settings = params.training(wanted, name)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import data, device, files, inference, predictions, tracking, training, weights
    from shiftlab.checkpoints import PredictionParts

    chosen = device.pick(wanted.device)
    tracker = tracking.Tracker(wanted.data.name)
    data_path, weights_path = data.path(wanted.data.name), weights.path(name, seed)
    test = data.load(data_path).test.to(chosen)
    model = weights.load(name, weights_path, test.size).to(chosen)
    parameters, multiply_adds = inference.cost(model, test.images[0])
    about = predictions.About(
        wanted.data.name,
        files.sha256(data_path),
        files.sha256(weights_path),
        test.size,
        regime,
        parameters,
        multiply_adds,
    )

    parts = PredictionParts(name, {**vars(about), "device": chosen.type, **wanted.evaluation.model_dump()})
    total = inference.count(wanted.evaluation, test.labels.cpu().numpy())
    with stage.progress(total, f"{name} seed {seed}, {regime}") as bar:
        answers = inference.predict(model, test, wanted.evaluation, about, parts, bar.update)
    predictions.save(answers, predictions.path(name, seed, regime))

    identity = tracking.Identity(about.data, about.data_sha256, name, seed)
    run = tracker.trained(identity, {"recipe": wanted.recipe, **settings.model_dump()}, about.weights_sha256)
    for images in (1, training.INFERENCE_BATCH):
        seconds = timeit.repeat(partial(inference.probabilities, model, test.images[:images]), number=1, repeat=9)
        run.log_metrics({f"cost/milliseconds for {images} images": 1000 * median(seconds)})
    parts.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
