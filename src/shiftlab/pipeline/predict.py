"""Stage `predict`: what one trained model predicts of every test image under shifts, in every boundary mode."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch

from shiftlab import determinism, files, unfinished
from shiftlab.config import params
from shiftlab.config.params import Params
from shiftlab.data import dataset
from shiftlab.errors import as_user_error
from shiftlab.models import weights
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.fast import fuse
from shiftlab.pipeline import arguments
from shiftlab.shifts import inference, predictions, protocol
from shiftlab.shifts.inference import Executor
from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation
from shiftlab.shifts.store import Store


def run(config: Params, name: str, seed: int) -> None:
    """Predict every test image under shifts, in every boundary mode: write predictions/MODEL/SEED/.

    Where SHIFTLAB_RAY has Ray's address, its nodes do the work; the predictions are the same bytes.
    """
    params.training(config, name)
    determinism.set_threads(config.threads)
    device = determinism.pick_device(config.device)
    data_path, weights_path = dataset.path(config.data.name), weights.path(name, seed)
    data = dataset.load(data_path)
    height, width = data.test.images.shape[-2:]
    with as_user_error():  # of a folder's images, whose size params.yaml does not tell
        params.refuse_shifts(config.evaluation, data.frame, (height, width))
    model = weights.load(name, weights_path, data.shape, len(data.classes))
    metadata = protocol.metadata(config.data.name, files.md5(data_path), data, model, files.md5(weights_path))
    images, labels = inference.InMemory(data.test.images, data.frame), data.test.labels.numpy()
    plan = plan_evaluation(len(images), labels, "zero", data.shape, config.evaluation)
    total = len(config.evaluation.boundaries) * plan.passes(len(images))
    settings = {"device": device.type, "threads": config.threads, **config.evaluation.model_dump()}
    with ExitStack() as stack:
        execute = _executor(config, model, data.shape, device, stack)
        bar = stack.enter_context(arguments.progress(total, f"{name} seed {seed}"))
        for boundary in config.evaluation.boundaries:
            of_boundary = replace(metadata, boundary=boundary)
            key = unfinished.key({**settings, **vars(of_boundary)}, name, "shiftlab.shifts.protocol")
            store = Store(unfinished.path("predictions", key))
            predicted = predict_evaluation(images, labels, of_boundary, config.evaluation, execute, store, bar.update)
            predictions.save(predicted, predictions.path(name, seed, boundary))
            store.remove()


def _executor(
    config: Params, model: Classifier, shape: tuple[int, int, int], device: torch.device, stack: ExitStack
) -> Executor:
    """Return the executor that predicts on the nodes of Ray at SHIFTLAB_RAY until `stack` ends, or in this process."""
    address = os.environ.get("SHIFTLAB_RAY")
    if not address:
        return inference.local(fuse(model.to(device), shape), device)
    from shiftlab.distributed.executor import ray_executor  # with Ray, which not everybody has

    load = partial(fuse, model, shape)
    return stack.enter_context(ray_executor(address, load, device, config.threads, config.determinism))
