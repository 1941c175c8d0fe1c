"""Stage `predict`: what one trained model calls every test image under every shift, in one regime."""

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data and the weights; write predictions/MODEL-SEED-REGIME.safetensors."""
    arguments = stage.model_seed_and_regime(__doc__)
    name, seed, regime = arguments.model, arguments.seed, arguments.regime
    wanted = params.load()
    params.training(wanted, name)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import cost, data, device, files, inference, predictions, weights
    from shiftlab.checkpoints import PredictionParts

    chosen = device.pick(wanted.device)
    data_path, weights_path = data.path(wanted.data.name), weights.path(name, seed)
    test = data.load(data_path).test.to(chosen)
    model = weights.load(name, weights_path, test.size).to(chosen)
    parameters, multiply_adds = cost.count(model, test.images[0])
    about = predictions.About(
        wanted.data.name,
        files.md5(data_path),
        files.md5(weights_path),
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
    parts.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
