"""Stage `predict`: what one trained model predicts of every test image under shifts, in every boundary mode."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.config.params import DeviceName, Params
from shiftlab.errors import UserError
from shiftlab.pipeline import arguments

if TYPE_CHECKING:
    from shiftlab.networks.classifier import Classifier


@dataclass(frozen=True)
class TrainedModel:
    """What a node of a Ray cluster makes a trained model from."""

    architecture: str
    weights: Path
    content: bytes  # of that file
    shape: tuple[int, int, int]
    classes: int

    def load(self) -> Classifier:
        """Return the model as the pipeline evaluates it."""
        import tempfile

        from shiftlab.models import weights
        from shiftlab.networks.fast import fuse

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self.weights.name)
            path.write_bytes(self.content)
            return fuse(weights.load(self.architecture, path, self.shape, self.classes), self.shape)


def run(config: Params, name: str, seed: int) -> None:
    """Predict every test image under shifts, in every boundary mode: write predictions/MODEL-SEED/.

    Where SHIFTLAB_RAY has Ray's address, its nodes do the work; the predictions are the same bytes.
    """
    params.training(config, name)
    determinism.prepare(config.determinism)

    from shiftlab import files, unfinished
    from shiftlab.data import dataset
    from shiftlab.models import weights
    from shiftlab.networks import cost
    from shiftlab.networks.fast import fuse
    from shiftlab.shifts import inference, predictions
    from shiftlab.shifts.predictions import PredictionMetadata
    from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation
    from shiftlab.shifts.store import Store

    determinism.use(config.threads)
    processor = determinism.pick_device(config.device)
    data_path, weights_path = dataset.path(config.data.name), weights.path(name, seed)
    data = dataset.load(data_path)
    _refuse_sizes(config, data.frame, tuple(data.test.images.shape[-2:]))
    model = weights.load(name, weights_path, data.shape, len(data.classes))
    images, labels = inference.InMemory(data.test.images, data.frame), data.test.labels.numpy()
    parameters, multiply_adds = cost.count(model, dataset.center_crop(data.test.images[0], data.frame))
    about = PredictionMetadata(
        data=config.data.name,
        data_md5=files.md5(data_path),
        classes=data.classes,
        weights_md5=files.md5(weights_path),
        shape=data.shape,
        canvas=data.canvas,
        boundary="zero",
        parameters=parameters,
        multiply_adds=multiply_adds,
    )
    settings = {"device": processor.type, "threads": config.threads, **config.evaluation.model_dump()}
    plan = plan_evaluation(len(images), labels, "zero", data.shape, config.evaluation)
    total = len(config.evaluation.boundaries) * plan.passes(len(images))
    with ExitStack() as until_done, arguments.progress(total, f"{name} seed {seed}") as bar:
        if address := os.environ.get("SHIFTLAB_RAY"):
            from shiftlab.distributed import engine, executor

            until_done.enter_context(engine.connected(address))
            spec = TrainedModel(name, weights_path, weights_path.read_bytes(), data.shape, len(data.classes))
            execute = executor.on_nodes(spec, cast("DeviceName", processor.type), config.threads, config.determinism)
        else:
            execute = inference.local(fuse(model.to(processor), data.shape), processor)
        for boundary in config.evaluation.boundaries:
            of_boundary = replace(about, boundary=boundary)
            key = unfinished.key({**settings, **vars(of_boundary)}, name, "shiftlab.shifts.protocol")
            store = Store(unfinished.folder() / f"predictions-{key[:16]}")
            predicted = predict_evaluation(images, labels, of_boundary, config.evaluation, execute, store, bar.update)
            predictions.save(predicted, predictions.path(name, seed, boundary))
            store.remove()


def _refuse_sizes(config: Params, frame: tuple[int, int], stored: tuple[int, ...]) -> None:
    """Refuse shifts that do not fit a folder's images, whose size params.yaml does not tell.

    Raises:
        UserError: some shift moves them out of sight, or past the edge of larger images.
    """
    try:
        params.refuse_shifts(config.evaluation, frame, (stored[0], stored[1]))
    except ValueError as error:
        raise UserError(str(error)) from None
