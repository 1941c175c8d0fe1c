"""An audit: one model, some images, all metrics in every boundary; and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from shiftlab import files
from shiftlab.audits import checks, presets, thresholds
from shiftlab.audits.checks import Check
from shiftlab.audits.images import Images, Labels, PreparedImages
from shiftlab.audits.model import Model, PreprocessedModel, type_name
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.audits.thresholds import Outcome, Threshold
from shiftlab.config.audit import AuditOptions
from shiftlab.config.params import NAMED_REACH, BoundaryName, Evaluation, refuse_shifts
from shiftlab.data.dataset import class_name, class_names, numbered
from shiftlab.determinism import description
from shiftlab.errors import UserError, extra
from shiftlab.metrics.comparison import to_json
from shiftlab.metrics.evaluation import Metrics, boundary_name, evaluate
from shiftlab.metrics.intervals import Estimate
from shiftlab.networks import cost
from shiftlab.reports import audit as report
from shiftlab.reports import plots, tables
from shiftlab.shifts import boundaries, predictions
from shiftlab.shifts.grids import ANCHOR_RADIUS
from shiftlab.shifts.inference import Executor, local, predict
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.protocol import predict_evaluation
from shiftlab.shifts.store import Store

if TYPE_CHECKING:
    import pandas

PHASE = 4  # pixels: the longest period of strides that accuracy is computed by
RANDOM = "it is random: asked twice, it gives different answers, and consistency is lower for it"
BOUNDARIES: Sequence[BoundaryName] = ("zero", "circular")  # unless others are named
METRICS, REPORT, PREDICTIONS, UNFINISHED = "metrics.json", "report.html", "predictions", ".unfinished"


@dataclass(frozen=True)
class Audit:
    """The result of an audit. Metrics are shares in 0..1 with 95% intervals; boundaries are in their options' order."""

    evaluation: Evaluation
    metrics: dict[BoundaryName, Metrics]
    predictions: dict[BoundaryName, Predictions]
    check: Check | None  # None where there are no labels
    outcomes: list[Outcome]  # of thresholds
    published: dict[str, Estimate]  # metrics of a published protocol
    metadata: Mapping[str, Any]  # all that makes it repeatable
    images: Images
    preprocessing: Preprocessing

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.metadata["model"]["name"])

    @property
    def labelled(self) -> bool:
        """Did the images have labels? Else there are no accuracies."""
        return self.check is not None

    @property
    def passed(self) -> bool:
        """Did every threshold pass?"""
        return all(outcome.passed for outcome in self.outcomes)

    def metric(self, name: str, boundary: BoundaryName | None = None) -> Estimate:
        """Return a metric by its name in metrics.json, in one boundary, or in the first.

        Raises:
            UserError: there is no such metric or boundary.
        """
        boundary = boundary or next(iter(self.metrics))
        if boundary not in self.metrics:
            raise UserError(f"no boundary {boundary!r} in this audit, only {', '.join(self.metrics)}")
        estimates = self.metrics[boundary].estimates
        if name not in estimates:
            raise UserError(f"no metric {name!r} in this audit, only {', '.join(estimates)}")
        return estimates[name]

    @property
    def clean(self) -> Estimate:
        """Accuracy on the images as they are, in the first boundary."""
        return self.metric("clean")

    @property
    def accuracy(self) -> Estimate:
        """Accuracy over all shifts, in the first boundary."""
        return self.metric("grid")

    @property
    def consistency(self) -> Estimate:
        """The chance that two shifts of an image are predicted the same, in the first boundary."""
        return self.metric("consistency")

    @property
    def robust_accuracy(self) -> Estimate:
        """The share of images right at every shift within a few pixels, in the first boundary."""
        return self.metric(f"robust_accuracy_{min(ANCHOR_RADIUS, self.evaluation.radius)}")

    def rows(self) -> list[dict[str, Any]]:
        """Return every metric in every boundary: boundary, metric, value, low, high."""
        return [
            {"boundary": boundary, "metric": name, **interval}
            for boundary, intervals in self.summary()["metrics"].items()
            for name, interval in intervals.items()
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return `rows` as a table of pandas."""
        with extra("mlflow"):
            import pandas
        return pandas.DataFrame(self.rows()).set_index(["boundary", "metric"])

    def plot(self, what: str = "maps", boundary: BoundaryName | None = None) -> report.Plot:
        """Return one of the report's plots as PNG, which a notebook shows.

        Raises:
            UserError: there is no such plot or boundary.
        """
        images = self._plots()
        name = f"{boundary or next(iter(self.metrics))}-{what}"
        if name not in images:
            raise UserError(f"no plot {name!r} of this audit, only {', '.join(images)}")
        return report.Plot(images[name])

    def summary(self) -> dict[str, Any]:
        """Return all numbers, in JSON's types: the content of metrics.json."""
        estimates = {boundary_name(metrics.metadata): metrics.estimates for metrics in self.metrics.values()}
        return {
            **self.metadata,
            "labelled": self.labelled,
            "metrics": {boundary: _intervals(of_boundary) for boundary, of_boundary in estimates.items()},
            "published": _intervals(self.published),
            "check": self.check and {**vars(self.check), "accuracy": _interval(self.check.accuracy)},
            "thresholds": [to_json(asdict(outcome)) for outcome in self.outcomes],
        }

    def save(self, folder: str | Path) -> Path:
        """Write report.html, metrics.json, CSVs and predictions for `shiftlab compare`; return the report's path.

        An earlier audit in the folder is replaced as a whole, or stays as a whole.

        Raises:
            OSError: as `files.write`.
        """
        folder, summary = Path(folder), self.summary()
        with files.replacing(folder, [METRICS, REPORT, PREDICTIONS, *boundaries.names()]) as new:
            for boundary, metrics in self.metrics.items():
                if self.labelled:
                    tables.write_tables(metrics, new / boundary)
                predictions.save(self.predictions[boundary], new / PREDICTIONS / f"{boundary}.safetensors")
            files.write(new / REPORT, report.page(summary, self._plots()))
            files.write(new / METRICS, json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return folder / REPORT

    def _plots(self) -> dict[str, bytes]:
        """Return the report's plots as PNG, by boundary and name: "zero-maps"."""
        images: dict[str, bytes] = {}
        for boundary, metrics in self.metrics.items():
            models = {self.model: metrics}
            if self.labelled:
                title = f"boundary {boundary_name(metrics.metadata)}: confusion matrices"
                of_boundary = plots.of_models(models)
                of_boundary["confusion"] = plots.confusion(models, ("clean", "random5"), title)
                of_boundary["gallery"] = self._gallery(boundary, metrics)
            else:
                of_boundary = plots.of_unlabelled(models)
            images |= {f"{boundary}-{name}": image for name, image in of_boundary.items()}
        return images

    def _gallery(self, boundary: BoundaryName, metrics: Metrics) -> bytes:
        """Plot the gallery, of few images, which are read anew."""
        margin = boundaries.get(boundary).margin(max(self.evaluation.radius, NAMED_REACH))
        images = PreparedImages(self.images, self.preprocessing)
        rows = plots.gallery_rows(metrics).values()
        shown = {robustness.image: images.read(robustness.image, margin) for row in rows for robustness in row}
        return plots.gallery(metrics, self.model, shown)

    def table(self) -> str:
        """Return all metrics as a table for a terminal."""
        return report.table(self.summary())

    def __repr__(self) -> str:
        return f"Audit of {self.model} on {self.metadata['data']['name']}\n{self.table()}"


def _intervals(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: _interval(estimate) for name, estimate in estimates.items()}


def _interval(estimate: Estimate) -> dict[str, float | None]:
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if value != value else value for name, value in values.items()}


def evaluation_of(options: AuditOptions) -> Evaluation:
    """Return what is measured: boundaries that are not named are those of the published protocol, or the usual ones."""
    default = [presets.get(options.published).boundary] if options.published else BOUNDARIES
    return Evaluation(
        radius=options.radius,
        boundaries=list(options.boundaries or default),
        images="all",
        shifts=options.shifts,
        phase=min(PHASE, options.radius),
        seed=options.seed,
    )


def about(model: Model) -> dict[str, Any]:
    """Return what tells a model from others: its name, format, weights' file and constructor arguments."""
    return {"name": model.name, "kind": model.kind, **model.source}


def refuse_other(folder: Path, model: Model) -> None:
    """Refuse a file, and a folder that holds the audit of another model."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: name a folder for the report with --out")
    with suppress(OSError, ValueError, KeyError, TypeError):
        held, own = json.loads((folder / METRICS).read_text(encoding="utf-8"))["model"], about(model)
        others = {key: held.get(key) for key in ("name", "kind", "weights", "weights_key", "arguments")}
        if any(value != own.get(key) for key, value in others.items()):
            parts = ", ".join(f"{key} {value}" for key, value in others.items() if value)
            raise UserError(f"{folder} holds the audit of another model ({parts}): name another folder with --out")


def measure(
    model: Model,
    images: Images,
    preprocessing: Preprocessing,
    options: AuditOptions,
    device: torch.device,
    unfinished: Path | None = None,
    executor: Executor | None = None,
    tell: Callable[[str], object] = lambda _: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Audit:
    """Check a model's preprocessing on a few images, and measure it on all of them.

    Args:
        unfinished: a folder for predictions that are done, from which a later attempt goes on.
        executor: has images predicted; None: this process does.
        tell: takes the check's result and what a reader should know, in sentences, before the long part begins.
        on_progress: called with the number of images predicted since the last call.
    """
    evaluation = evaluation_of(options)
    preset = presets.get(options.published) if options.published else None
    limits = _check_options(options, images, preprocessing)
    prepared = PreparedImages(images, preprocessing)
    reach = max(evaluation.radius, NAMED_REACH)
    margin = max(boundaries.get(name).margin(reach) for name in evaluation.boundaries)
    images.check(lambda place: prepared.read(place, margin))
    sample, pixels = checks.first_images(images, preprocessing, evaluation.seed)
    pixels = pixels.to(device)
    model = checks.with_output_type(model, preprocessing, pixels, options.outputs)
    preprocessed = PreprocessedModel(model, preprocessing).eval()
    with torch.inference_mode():
        logits, repeated = (preprocessed(pixels[: checks.FINGERPRINT]).cpu().numpy() for _ in range(2))
    classes, labels = _match_classes(model, images, logits.shape[1])
    if not options.any_accuracy:
        checks.refuse_constant(logits, pixels[: checks.FINGERPRINT], model.name)
    check = None if labels is None else checks.check(model, preprocessing, pixels, labels[sample])
    if check and not check.passed and not options.any_accuracy:
        raise UserError(
            f"{model.name} is not far above chance: {check}. Look at --range, --mean and --std, --channels, and at the "
            "order of its classes (--classes); with --any-accuracy it is audited all the same"
        )
    notes = [*model.notes] if np.allclose(logits, repeated, rtol=1e-4, atol=1e-5) else [*model.notes, RANDOM]
    if labels is not None and (alone := int((np.unique(labels, return_counts=True)[1] == 1).sum())):
        notes.append(f"classes of one image, which consistency by chance and corrected consistency leave out: {alone}")
    output_note = f"its outputs are taken for {model.output_type}: --outputs says otherwise"
    for sentence in (output_note, *notes, *([str(check), *check.warnings()] if check else [])):
        tell(sentence)

    execute, digest = executor or local(preprocessed, device), images.sha256()
    # A function has no weights to be known by, so that its logits tell whose predictions a folder holds.
    fingerprint = hashlib.sha256(logits.tobytes()).hexdigest()

    def store(*facts: object) -> Store | None:
        """Return the store of unfinished predictions that depend on these facts."""
        key = hashlib.sha256(json.dumps([fingerprint, *map(str, facts)]).encode()).hexdigest()[:16]
        return Store(unfinished / key) if unfinished else None

    published = {}
    if preset:
        seed = evaluation.seed
        plan = preset.plan(len(images), preprocessing.shape, presets.generator(seed))
        arrays = predict(prepared, plan, execute, store(preset.paper, seed, preprocessing, digest), on_progress)
        published = preset.estimate(arrays, labels, presets.generator(seed))
    size = _cost(preprocessed, pixels[0])
    predicted, metrics = {}, {}
    for boundary in evaluation.boundaries:
        of_boundary = PredictionMetadata(
            images.name, digest, classes, model.digest, preprocessing.shape, canvas=False, boundary=boundary, **size
        )
        parts = store(of_boundary, evaluation, preprocessing)
        predicted[boundary] = predict_evaluation(prepared, labels, of_boundary, evaluation, execute, parts, on_progress)
        metrics[boundary] = evaluate(predicted[boundary], evaluation.radius, evaluation.phase, labels is not None)
    about_model = {**about(model), "digest": model.digest, "outputs": len(classes), "output_type": model.output_type}
    counts = {"images": len(images), "of": images.total, "classes": len(classes)}
    metadata = {
        "model": {**about_model, **size, "notes": notes},
        "data": {"name": images.name, "digest": digest, "background": images.background, **counts},
        "options": options.recorded(),
        "protocol": {
            **evaluation.model_dump(exclude={"images"}),
            "shifts": next(iter(metrics.values())).shifts,
            "of_shifts": (2 * evaluation.radius + 1) ** 2,
            "images": len(images),
            "published": preset.paper if preset else None,
        },
        "preprocessing": {**asdict(preprocessing), "dtype": type_name(model.dtype), "in_words": str(preprocessing)},
        "made_on": description(device),
    }
    outcomes = thresholds.check(limits, metrics)
    return Audit(evaluation, metrics, predicted, check, outcomes, published, metadata, images, preprocessing)


def _check_options(options: AuditOptions, images: Images, preprocessing: Preprocessing) -> list[Threshold]:
    """Refuse options that the images do not allow, and return the thresholds."""
    evaluation, labelled = evaluation_of(options), images.labels is not None
    try:
        refuse_shifts(evaluation, preprocessing.frame)
    except ValueError as error:
        raise UserError(str(error).replace("evaluation.radius", "--radius")) from None
    if options.published and presets.get(options.published).needs_labels and not labelled:
        raise UserError(f"--protocol {options.published} is of accuracies, which need labels")
    return thresholds.parse(options.fail_under, evaluation.boundaries, evaluation.radius, labelled)


def _match_classes(model: Model, images: Images, outputs: int) -> tuple[tuple[str, ...], Labels | None]:
    """Return the outputs' names, and the images' labels as numbers of outputs, `(N,)`."""
    labels = images.labels
    named = model.classes and tuple(map(class_name, model.classes))  # of which two may be the same, as ImageNet's are
    own = images.classes and class_names(images.classes)
    if named is not None and len(named) != outputs:
        raise UserError(f"{len(named)} classes are named, but {model.name} has {outputs} outputs: name each one")
    if own is None or labels is None:
        return named or numbered(outputs), None
    if named is None:
        if len(own) == outputs:
            return own, labels
        raise UserError(
            f"{model.name} has {outputs} outputs, and {images.name} {len(own)} classes (its labels are {labels.min()} "
            f"to {labels.max()}, counted from 0): name the outputs in their order, one on a line, with --classes FILE"
        )
    place = {name: number for number, name in enumerate(named)}
    if unknown := [name for name in own if name not in place]:
        if len(own) == outputs and not images.named:
            return named, labels  # which are numbers of outputs
        raise UserError(
            f"the class {unknown[0]!r} of {images.name} is not among the outputs of {model.name} "
            f"({', '.join(named[:10])}{', ...' if outputs > 10 else ''}): give --classes FILE with "
            "the names that the images' classes have, in the order of the outputs"
        )
    if twice := [name for name in own if named.count(name) > 1]:
        raise UserError(
            f"{named.count(twice[0])} outputs of {model.name} are named {twice[0]!r}, a class of "
            f"{images.name}: give each a name of its own, with --classes FILE"
        )
    return named, np.array([place[name] for name in own])[labels]


def _cost(preprocessed: PreprocessedModel, image: Tensor) -> dict[str, int]:
    """Return the parameters and the products of one image's forward pass; 0 where they can't be counted."""
    module = preprocessed.model.module
    parameters, products = 0, 0
    if module is not None and not isinstance(module, torch.jit.ScriptModule):
        try:
            parameters, products = cost.count(preprocessed, image)
        except (RuntimeError, NotImplementedError, UserError):
            parameters = sum(weights.numel() for weights in preprocessed.parameters())
    return {"parameters": parameters, "multiply_adds": products}
