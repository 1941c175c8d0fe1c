"""Stage `predict`: what one trained model calls every test image under every shift."""

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml, the data and the weights; write predictions/MODEL-SEED.safetensors."""
    arguments = stage.model_and_seed(__doc__)
    name, seed = arguments.model, arguments.seed
    wanted = params.load()

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import data, device, files, inference, predictions, weights

    chosen = device.pick(wanted.device)
    data_path, weights_path = data.path(wanted.data.name), weights.path(name, seed)
    test = data.load(data_path).test.to(chosen)
    model = weights.load(name, weights_path, test.size).to(chosen)
    total = inference.count(wanted.evaluation) * len(test)
    with stage.progress(total, f"{name} seed {seed}, shifted") as bar:
        answers = inference.predict(
            model,
            test,
            wanted.evaluation,
            data=wanted.data.name,
            data_sha256=files.sha256(data_path),
            weights_sha256=files.sha256(weights_path),
            on_progress=bar.update,
        )
    predictions.save(answers, predictions.path(name, seed))


if __name__ == "__main__":
    with one_sentence():
        main()
