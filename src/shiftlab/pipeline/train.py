"""Stage `train`: fit one model with one seed, and keep the weights of its best validation epoch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, astuple, fields
from itertools import chain
from pathlib import Path

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.errors import UserError
from shiftlab.pipeline import arguments


def run(config: Params, name: str, seed: int) -> None:
    """Train a model with one seed: write the best epoch's weights, and the history after every epoch; log a run."""
    settings = params.training(config, name)
    determinism.prepare(config.determinism)

    # The second would be imported as an optimizer is made, at the expense of the training's time.
    import torch
    import torch._dynamo

    from shiftlab import files
    from shiftlab.data import dataset
    from shiftlab.models import architectures, weights
    from shiftlab.networks import cost
    from shiftlab.pipeline.checkpoints import Checkpoint
    from shiftlab.tracking import recording, runs
    from shiftlab.tracking.store import connect
    from shiftlab.training import loop

    determinism.use(config.threads)
    processor = determinism.pick_device(config.device)
    store = connect(config.data.name, config.tracking)
    data_path = dataset.path(config.data.name)
    data = dataset.load(data_path)
    recipe, augmentation = settings.recipe or config.recipe, settings.augmentation or config.augmentation
    height, width = data.train.images.shape[-2:]
    try:
        params.refuse_augmentation(augmentation, data.frame, (height, width))
    except ValueError as error:  # of a folder's images, whose size params.yaml does not tell
        raise UserError(str(error)) from None
    identity = runs.Identity(config.data.name, files.md5(data_path), name, seed, data.shape, data.classes)
    choices = params.recorded(
        config.recipe, config.augmentation, processor.type, config.threads, config.determinism, settings
    )
    made_on = determinism.description(processor)

    checkpoint = Checkpoint(name, seed, {**choices, "data": identity.data_md5})
    runs.end_interrupted(store, checkpoint.key)
    state = checkpoint.load()

    torch.manual_seed(seed)
    model = architectures.build(name, data.shape, len(data.classes), settings.components)
    images = len(data.train)
    finished = len(state.history) if state else 0
    with (
        runs.training(store, identity, choices, {"training.key": checkpoint.key, **made_on}) as run,
        arguments.progress(settings.epochs * images, f"{name} seed {seed}", finished * images) as bar,
    ):

        def show(seen: int, loss: float) -> None:
            bar.set_postfix(epoch=bar.n // images + 1, loss=f"{loss:.4f}", refresh=False)
            bar.update(seen)

        seconds, logged = 0.0, 0  # of training alone, without what is kept and recorded between epochs
        begun = time.perf_counter()
        epochs = loop.fit(model, data, recipe, settings, processor, state, show, augmentation)
        for reached in chain([state] if state else [], epochs):
            seconds += time.perf_counter() - begun
            checkpoint.save(reached)
            header = [field.name for field in fields(loop.Epoch)]
            history_path = Path("plots", f"{name}-{seed}", "history.csv")
            files.write(history_path, files.table(header, map(astuple, reached.history)))
            recording.log_epochs(run, map(asdict, reached.history[logged:]))
            logged = len(reached.history)
            begun = time.perf_counter()
        weights_path = weights.path(name, seed)
        weights.save(reached.best, name, weights_path, settings.components)
        files.write(weights_path.with_suffix(".json"), json.dumps(made_on, indent=2) + "\n")
        run.log_metrics({"train/seconds": seconds})
        model.eval()
        for count in (1, loop.INFERENCE_BATCH):
            batch = data.validation.center_crop(data.frame).images[:count].to(processor)
            run.log_metrics({f"cost/milliseconds for {count} images": cost.latency(model, batch)})
        history = map(asdict, reached.history)
        recording.log_weights(run, identity, weights_path, history)
    checkpoint.remove()
