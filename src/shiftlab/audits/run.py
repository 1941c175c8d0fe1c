"""Run an audit: read the model and the images, measure, write the report."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shiftlab import determinism, files
from shiftlab.audits import adapters, checks, presets
from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.audit import UNFINISHED, Audit, evaluation_of, measure, refuse_other
from shiftlab.audits.images import from_arrays, load_images
from shiftlab.audits.model import Model
from shiftlab.audits.modules import from_module, restored_modes
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import AuditOptions, CommandOptions, OutputType, PreprocessingHints, read
from shiftlab.errors import extra
from shiftlab.pipeline import arguments
from shiftlab.shifts.inference import Executor
from shiftlab.shifts.protocol import plan_evaluation


def run(options: CommandOptions, silent: bool = False) -> Audit:
    """Audit the model that the options name, write the report, and log a run where MLflow is configured."""
    evaluation_of(options)  # refuses an unknown protocol before anything is read
    if options.thresholds:
        limits = (*options.fail_under, *files.lines(options.thresholds, "METRIC=SHARE"))
        options = options.model_copy(update={"fail_under": limits})
    threads = options.threads or (1 if options.ray else None)  # a node's core for each of many tasks
    if threads:
        torch.set_num_threads(threads)
    device = determinism.pick_device(options.device)
    images = load_images(options.data, options.root, options.background)
    sample = images.sample(options.count, options.seed)
    size = sample.size()
    classes = files.lines(options.classes, "the name of an output", comments=False) if options.classes else None
    outputs = len(classes or images.classes or ()) or None
    model_options = ModelOptions(
        options.weights,
        options.weights_key,
        options.model_args,
        trust_pickle=options.trust_pickle,
        device=device,
        outputs=outputs,
        image=size,
        frame=options.frame,
    )
    model = adapters.load(options.model, model_options)
    refuse_other(options.folder, model)
    if classes:
        model = replace(model, classes=tuple(classes))
    preprocessing = Preprocessing.of(options.merge(model.hints), size)
    if options.ray:  # nodes have to know it from the beginning
        _, pixels = checks.first_images(sample, preprocessing, options.seed)
        model = checks.with_output_type(model, preprocessing, pixels.to(device), options.outputs)
    unfinished, store = options.folder / UNFINISHED, None
    if os.environ.get("MLFLOW_TRACKING_URI"):
        with extra("mlflow"):
            from shiftlab.tracking import recording
            from shiftlab.tracking.store import connect
        store = connect(sample.name)  # a store that can't be used is refused before the long part
    total = _passes(options, len(sample), preprocessing)
    with (
        arguments.progress(total, model.name, hidden=silent) as bar,
        _connected(options, model_options, preprocessing, model.output_type, threads or 1) as executor,
    ):

        def tell(sentence: str) -> None:
            if not silent:
                bar.clear()
                print(sentence, file=sys.stderr)

        source = "".join(f", {part} {value}" for part, value in model.source.items())
        tell(f"{model.name} ({model.kind}{source}) sees: {preprocessing}")
        result = measure(model, sample, preprocessing, options, device, unfinished, executor, tell, bar.update)
    result.save(options.folder)
    if store:
        recording.log_audit(store, result.summary(), options.folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    return result


def _passes(options: AuditOptions, images: int, preprocessing: Preprocessing) -> int:
    """Return how many images are predicted, in all boundaries and for a published protocol."""
    evaluation = evaluation_of(options)
    plan = plan_evaluation(images, None, "zero", preprocessing.shape, evaluation)
    total = len(evaluation.boundaries) * plan.passes(images)
    if options.published:
        preset = presets.get(options.published)
        total += preset.plan(images, preprocessing.shape, presets.generator(options.seed)).passes(images)
    return total


@contextmanager
def _connected(
    options: CommandOptions,
    model_options: ModelOptions,
    preprocessing: Preprocessing,
    output_type: OutputType | None,
    threads: int,
) -> Iterator[Executor | None]:
    """Yield the executor of the Ray cluster that the options name; None without one."""
    if not options.ray:
        yield None
        return
    from shiftlab.distributed.executor import ray_executor  # with Ray, which not everybody has

    load = adapters.remote_loader(options.model, model_options, preprocessing, output_type)
    with ray_executor(options.ray, load, model_options.device, threads, "portable") as executor:
        yield executor


def audit(
    model: Callable[[Tensor], object],
    images: NDArray[Any] | Tensor,
    labels: NDArray[Any] | Tensor | Sequence[int] | None = None,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
    **options: Any,
) -> Audit:
    """Measure how a model fares when images are shifted.

    Args:
        model: an nn.Module, which is run in evaluation mode where its weights are, and left as it was; or any function
            of a batch of preprocessed images (a float32 Tensor on the CPU), that returns a row of logits or
            probabilities for each. scikit-learn:
            `lambda batch: forest.predict_proba(batch.numpy().reshape(len(batch), -1))`.
        images: raw, whole numbers in 0..255: `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`.
        labels: whole numbers from 0, `(N,)`; None: consistency, agreement and sensitivity alone are measured.
        name: of the model, for the report.
        classes: their names.
        on_progress: called with the number of images classified since the last call.
        options: the fields of `shiftlab.config.audit.AuditOptions`: `mean`, `std`, `boundaries`, `radius` and others.

    Raises:
        UserError: a metric, shape, range or option that can't be; the model fails; it is no better than chance.
    """
    checked = read(AuditOptions, options)
    data = from_arrays("images", _array(images), None if labels is None else _array(labels), classes)
    size = data.size()
    device = torch.device("cpu")
    with restored_modes(model):
        if isinstance(model, nn.Module):
            device = next((weights.device for weights in model.parameters()), device)
            wrapped = from_module(model, name or type(model).__name__, "python", ModelOptions(device=device))
        else:
            wrapped = Model(name or str(getattr(model, "__name__", "model")), "python", model)
        hints = checked.merge(wrapped.hints)
        if size and size[0] == 1:
            hints = hints.merge(PreprocessingHints(channels="grey"))
        sample = data.sample(checked.count, checked.seed)
        return measure(wrapped, sample, Preprocessing.of(hints, size), checked, device, on_progress=on_progress)


def _array(values: object) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
