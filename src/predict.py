"""Stage `predict`: what one trained model calls every test image under every shift, in one regime."""

import os
from typing import cast

from shiftlab import params, processor, stage
from shiftlab.errors import UserError, one_sentence
from shiftlab.params import DeviceName


def main() -> None:
    """Read params.yaml, the data and the weights; write predictions/MODEL-SEED/REGIME.safetensors.

    Where SHIFTLAB_RAY has Ray's address, its nodes do the work; the answers are the same bytes.
    """
    arguments = stage.model_seed_and_regime(__doc__)
    name, seed, regime = arguments.model, arguments.seed, arguments.regime
    wanted = params.load()
    params.training(wanted, name)
    processor.prepare(wanted.determinism)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import device, files
    from shiftlab.data import dataset
    from shiftlab.learn.checkpoints import PredictionParts
    from shiftlab.measure import inference, predictions
    from shiftlab.models import cost, weights
    from shiftlab.models.fusion import fused

    processor.use(wanted.threads)
    chosen = device.pick(wanted.device)
    data_path, weights_path = dataset.path(wanted.data.name), weights.path(name, seed)
    data = dataset.load(data_path)
    height, width = data.test.images.shape[-2:]
    try:
        params.refuse_radius(wanted.evaluation.radius, data.frame)
        if regime == "crop":
            params.refuse_margin(wanted.evaluation.radius, data.frame, (height, width))
    except ValueError as error:  # of a folder's images, whose size params.yaml does not tell
        raise UserError(str(error)) from None
    test = data.test.to(chosen)
    model = weights.load(name, weights_path, data.shape, len(data.classes)).to(chosen)
    parameters, multiply_adds = cost.count(model, dataset.middle(test.images[0], data.frame))
    about = predictions.About(
        data=wanted.data.name,
        data_md5=files.md5(data_path),
        classes=data.classes,
        weights_md5=files.md5(weights_path),
        shape=data.shape,
        canvas=data.canvas,
        regime=regime,
        parameters=parameters,
        multiply_adds=multiply_adds,
    )

    settings = {"device": chosen.type, "threads": wanted.threads, **wanted.evaluation.model_dump()}
    parts = PredictionParts(name, {**vars(about), **settings})
    total = inference.count(wanted.evaluation, test.labels.cpu().numpy())
    with stage.progress(total, f"{name} seed {seed}, {regime}") as bar:
        if address := os.environ.get("SHIFTLAB_RAY"):
            import numpy as np

            from shiftlab.cluster import shards

            question = shards.Question(
                name,
                np.fromfile(weights_path, np.uint8),
                data.test.images.numpy(),
                data.test.labels.numpy(),
                about,
                wanted.evaluation,
                cast("DeviceName", chosen.type),
                wanted.threads,
                wanted.determinism,
            )
            answers = shards.predict(question, address, parts, bar.update)
        else:
            answers = inference.predict(fused(model, data.shape), test, wanted.evaluation, about, parts, bar.update)
    predictions.save(answers, predictions.path(name, seed, regime))
    parts.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
