"""Stage `predict`: what one trained model calls every test image under every shift, in one boundary."""

import os
from typing import cast

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.config.params import DeviceName
from shiftlab.errors import UserError, one_sentence
from shiftlab.pipeline import arguments


def main() -> None:
    """Read params.yaml, the data and the weights; write predictions/MODEL-SEED/BOUNDARY.safetensors.

    Where SHIFTLAB_RAY has Ray's address, its nodes do the work; the answers are the same bytes.
    """
    options = arguments.model_seed_and_boundary(__doc__)
    name, seed, boundary = options.model, options.seed, options.boundary
    wanted = params.load()
    params.training(wanted, name)
    determinism.prepare(wanted.determinism)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import device, files
    from shiftlab.data import dataset
    from shiftlab.models import cost, weights
    from shiftlab.models.fast import fuse
    from shiftlab.shifts import inference, predictions
    from shiftlab.training.checkpoints import PredictionParts

    determinism.use(wanted.threads)
    chosen = device.pick(wanted.device)
    data_path, weights_path = dataset.path(wanted.data.name), weights.path(name, seed)
    data = dataset.load(data_path)
    height, width = data.test.images.shape[-2:]
    try:
        params.refuse_radius(wanted.evaluation.radius, data.frame)
        if boundary == "crop":
            params.refuse_margin(wanted.evaluation.radius, data.frame, (height, width))
    except ValueError as error:  # of a folder's images, whose size params.yaml does not tell
        raise UserError(str(error)) from None
    test = data.test.to(chosen)
    model = weights.load(name, weights_path, data.shape, len(data.classes)).to(chosen)
    parameters, multiply_adds = cost.count(model, dataset.center_crop(test.images[0], data.frame))
    about = predictions.PredictionMetadata(
        data=wanted.data.name,
        data_md5=files.md5(data_path),
        classes=data.classes,
        weights_md5=files.md5(weights_path),
        shape=data.shape,
        canvas=data.canvas,
        boundary=boundary,
        parameters=parameters,
        multiply_adds=multiply_adds,
    )

    settings = {"device": chosen.type, "threads": wanted.threads, **wanted.evaluation.model_dump()}
    parts = PredictionParts(name, {**vars(about), **settings})
    total = inference.count(wanted.evaluation, test.labels.cpu().numpy())
    with arguments.progress(total, f"{name} seed {seed}, {boundary}") as bar:
        if address := os.environ.get("SHIFTLAB_RAY"):
            import numpy as np

            from shiftlab.distributed import shards

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
            answers = inference.predict(fuse(model, data.shape), test, wanted.evaluation, about, parts, bar.update)
    predictions.save(answers, predictions.path(name, seed, boundary))
    parts.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
