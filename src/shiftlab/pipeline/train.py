"""Stage `train`: fit one model with one seed, and keep the weights of its best validation epoch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, astuple, fields
from itertools import chain
from pathlib import Path

import torch
import torch._dynamo  # which would else be imported as an optimizer is made, at the expense of the training's time
from torch import nn

from shiftlab import determinism, files
from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.data import dataset
from shiftlab.data.dataset import Dataset
from shiftlab.errors import as_user_error
from shiftlab.models import architectures, weights
from shiftlab.networks import cost
from shiftlab.pipeline import arguments
from shiftlab.pipeline.checkpoints import Checkpoint
from shiftlab.tracking import recording, runs
from shiftlab.tracking.runs import Run
from shiftlab.tracking.store import connect
from shiftlab.training import loop
from shiftlab.training.loop import State


def run(config: Params, name: str, seed: int) -> None:
    """Train a model with one seed: write the best epoch's weights, and the history after every epoch; log a run."""
    settings = params.training(config, name)
    determinism.set_threads(config.threads)
    device = determinism.pick_device(config.device)
    store = connect(config.data.name, config.tracking)
    data_path, weights_path = dataset.path(config.data.name), weights.path(name, seed)
    data = dataset.load(data_path)
    height, width = data.train.images.shape[-2:]
    with as_user_error():  # of a folder's images, whose size params.yaml does not tell
        params.refuse_augmentation(settings.augmentation or config.augmentation, data.frame, (height, width))
    identity = runs.Identity(config.data.name, files.md5(data_path), name, seed, data.shape, data.classes)
    choices = params.recorded(
        config.recipe, config.augmentation, device.type, config.threads, config.determinism, settings
    )
    machine = determinism.description(device)
    checkpoint = Checkpoint(name, seed, {**choices, "data": identity.data_md5})
    runs.end_interrupted(store, checkpoint.key)
    torch.manual_seed(seed)
    model = architectures.build(name, data.shape, len(data.classes), settings.components)
    with runs.training(store, identity, choices, {"training.key": checkpoint.key, **machine}) as run:
        state, seconds = _fit(config, name, seed, model, data, checkpoint, run)
        weights.save(state.best, name, weights_path, settings.components)
        files.write(weights_path.with_suffix(".json"), json.dumps(machine, indent=2) + "\n")
        run.log_metrics({"train/seconds": seconds, **_latencies(model, data, device)})
        recording.log_weights(run, identity, weights_path, map(asdict, state.history))
    arguments.refuse_changes()  # before what has been done is forgotten
    checkpoint.remove()


def _fit(
    config: Params, name: str, seed: int, model: nn.Module, data: Dataset, checkpoint: Checkpoint, run: Run
) -> tuple[State, float]:
    """Train from the checkpoint on, or from the start; write checkpoint and history after every epoch.

    Returns:
        The last state, and the seconds of training alone, without what is written between epochs.
    """
    settings, device = config.models[name], determinism.pick_device(config.device)
    recipe, augmentation = settings.recipe or config.recipe, settings.augmentation or config.augmentation
    history_path = Path("plots", f"{name}-{seed}", "history.csv")
    header = [field.name for field in fields(loop.Epoch)]
    images, saved = len(data.train), checkpoint.load()
    finished = images * len(saved.history) if saved else 0
    seconds, logged = 0.0, 0
    with arguments.progress(settings.epochs * images, f"{name} seed {seed}", finished) as bar:

        def show(count: int, loss: float) -> None:
            bar.set_postfix(epoch=bar.n // images + 1, loss=f"{loss:.4f}", refresh=False)
            bar.update(count)

        begun = time.perf_counter()
        epochs = loop.fit(model, data, recipe, settings, device, saved, show, augmentation)
        for state in chain([saved] if saved else [], epochs):
            seconds += time.perf_counter() - begun
            checkpoint.save(state)
            files.write(history_path, files.table(header, map(astuple, state.history)))
            recording.log_epochs(run, map(asdict, state.history[logged:]))
            logged = len(state.history)
            begun = time.perf_counter()
    return state, seconds


def _latencies(model: nn.Module, data: Dataset, device: torch.device) -> dict[str, float]:
    """Return the milliseconds that predictions of one image and of a batch take, by the metrics' names."""
    images = data.validation.center_crop(data.frame).images[: loop.INFERENCE_BATCH].to(device)
    model.eval()
    return {
        f"cost/milliseconds for {count} images": cost.latency(model, images[:count])
        for count in (1, loop.INFERENCE_BATCH)
    }
