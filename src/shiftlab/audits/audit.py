"""An audit: one model, some images, all metrics in every boundary; and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shiftlab import files
from shiftlab.audits import checks, presets, thresholds
from shiftlab.audits.checks import Check
from shiftlab.audits.images import Images
from shiftlab.audits.inference import PreparedImages, store
from shiftlab.audits.model import Model, PreprocessedModel, is_random
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.audits.thresholds import Outcome
from shiftlab.config.audit import AuditOptions
from shiftlab.config.params import NAMED_REACH, BoundaryName, Evaluation, refuse_shifts
from shiftlab.data.dataset import numbered
from shiftlab.determinism import description
from shiftlab.errors import UserError, extra
from shiftlab.metrics.evaluation import Metrics, boundary_name, evaluate
from shiftlab.metrics.intervals import Estimate
from shiftlab.networks import cost
from shiftlab.reports import audit as show
from shiftlab.reports import plots, tables
from shiftlab.shifts import boundaries, predictions
from shiftlab.shifts.grids import ANCHOR_RADIUS
from shiftlab.shifts.inference import Executor, local, predict
from shiftlab.shifts.predictions import PredictionMetadata, Predictions
from shiftlab.shifts.protocol import predict_evaluation

if TYPE_CHECKING:
    import pandas

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
    def held(self) -> bool:
        """Did every threshold hold?"""
        return all(one.held for one in self.outcomes)

    def metric(self, name: str, boundary: BoundaryName | None = None) -> Estimate:
        """A metric by its name in metrics.json, in one boundary, or in the first.

        Raises:
            UserError: there is no such metric or boundary.
        """
        boundary = boundary or next(iter(self.metrics))
        if boundary not in self.metrics:
            raise UserError(f"no boundary {boundary!r} in this audit, only {', '.join(self.metrics)}")
        every = self.metrics[boundary].estimates
        if name not in every:
            raise UserError(f"no metric {name!r} in this audit, only {', '.join(every)}")
        return every[name]

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
        """The chance that two shifts of an image are called the same, in the first boundary."""
        return self.metric("consistency")

    @property
    def robust_accuracy(self) -> Estimate:
        """The share of images right at every shift within a few pixels, in the first boundary."""
        return self.metric(f"robust_accuracy_{min(ANCHOR_RADIUS, self.evaluation.radius)}")

    def rows(self) -> list[dict[str, Any]]:
        """Every metric in every boundary: boundary, metric, value, low, high."""
        return [
            {"boundary": boundary_name(metrics.metadata), "metric": name, **_interval(estimate)}
            for metrics in self.metrics.values()
            for name, estimate in metrics.estimates.items()
        ]

    def to_frame(self) -> pandas.DataFrame:
        """`rows` as a table of pandas."""
        with extra("mlflow"):
            import pandas
        return pandas.DataFrame(self.rows()).set_index(["boundary", "metric"])

    def plot(self, what: str = "maps", boundary: BoundaryName | None = None) -> show.Plot:
        """One of the report's pictures as PNG, which a notebook shows.

        Raises:
            UserError: there is no such picture or boundary.
        """
        drawn = self._pictures()
        name = f"{boundary or next(iter(self.metrics))}-{what}"
        if name not in drawn:
            raise UserError(f"no picture {name!r} of this audit, only {', '.join(drawn)}")
        return show.Plot(drawn[name])

    def summary(self) -> dict[str, Any]:
        """All numbers, in JSON's types: the content of metrics.json."""
        metrics = {
            boundary_name(values.metadata): {name: _interval(one) for name, one in values.estimates.items()}
            for values in self.metrics.values()
        }
        check = None
        if self.check:
            held = _interval(self.check.accuracy)
            check = {"accuracy": held, "chance": self.check.chance, "otherwise": self.check.otherwise}
        return {
            **self.metadata,
            "labelled": self.labelled,
            "metrics": metrics,
            "published": {name: _interval(one) for name, one in self.published.items()},
            "check": check,
            "thresholds": [asdict(one) for one in self.outcomes],
        }

    def save(self, folder: str | Path) -> Path:
        """Write report.html, metrics.json, CSVs for each boundary, and all predictions, which `shiftlab compare` reads.

        Returns:
            The report's path.

        Raises:
            OSError: as `files.write`.
        """
        place = Path(folder)
        for boundary, found in self.metrics.items():
            if self.labelled:
                tables.write_tables(found, place / boundary)
            predictions.save(self.predictions[boundary], place / PREDICTIONS / f"{boundary}.safetensors")
        summary = self.summary()
        files.write(place / REPORT, show.page(summary, self._pictures()))
        files.write(place / METRICS, json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return place / REPORT

    def _pictures(self) -> dict[str, bytes]:
        drawn: dict[str, bytes] = {}
        for boundary, found in self.metrics.items():
            if not self.labelled:
                kinds = plots.of_unlabelled({self.model: found})
                drawn |= {f"{boundary}-{name}": picture for name, picture in kinds.items()}
                continue
            drawn |= {f"{boundary}-{name}": picture for name, picture in plots.of_models({self.model: found}).items()}
            caption = f"boundary {boundary_name(found.metadata)}: confusion matrices"
            drawn[f"{boundary}-confusion"] = plots.confusion({self.model: found}, ("clean", "random5"), caption)
            drawn[f"{boundary}-gallery"] = self._gallery(boundary, found)
        return drawn

    def _gallery(self, boundary: BoundaryName, found: Metrics) -> bytes:
        """Of the few images that it shows, which are read anew."""
        places = [one.image for one in plots.in_gallery(found)]
        margin = boundaries.get(boundary).margin(max(self.evaluation.radius, NAMED_REACH))
        read = self.images.at(places, self.preprocessing, margin) if places else torch.zeros(0, 1, 1, 1)
        return plots.gallery(found, self.model, dict(zip(places, read, strict=True)))

    def table(self) -> str:
        """Return all metrics as a table for a terminal."""
        return show.table(self.summary())

    def __repr__(self) -> str:
        return f"Audit of {self.model} on {self.metadata['data']['name']}\n{self.table()}"


def _interval(one: Estimate) -> dict[str, float | None]:
    values = {"value": one.value, "low": one.low, "high": one.high}
    return {name: None if value != value else value for name, value in values.items()}


def evaluation_of(options: AuditOptions) -> Evaluation:
    """Return what is measured: boundaries that are not named are those of the published protocol, or the usual ones.

    Raises:
        UserError: there is no such published protocol.
    """
    return options.evaluation([presets.of(options.published).boundary] if options.published else BOUNDARIES)


def measure(
    model: Model,
    images: Images,
    preprocessing: Preprocessing,
    options: AuditOptions,
    device: torch.device,
    *,
    unfinished: Path | None = None,
    executor: Executor | None = None,
    on_checked: Callable[[Check | None, Sequence[str]], object] = lambda *_: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Audit:
    """Check a model's preprocessing on a few images, and measure it on all of them.

    Args:
        unfinished: a folder for predictions that are done, from which a later attempt goes on.
        executor: has images predicted; None: this process does.
        on_checked: called with the check and what a reader should know, before the long part begins.
        on_progress: called with the number of images predicted since the last call.

    Raises:
        UserError: a value that can't be; the model fails, or is no better than chance.
    """
    evaluation = evaluation_of(options)
    try:
        refuse_shifts(evaluation, preprocessing.frame)
    except ValueError as error:
        raise UserError(str(error).replace("evaluation.radius", "--radius")) from None
    preset = presets.of(options.published) if options.published else None
    limits = thresholds.parse(options.fail_under, evaluation.boundaries, evaluation.radius, images.labels is not None)
    prepared = PreprocessedModel(model, preprocessing).eval()
    few = np.random.default_rng(evaluation.seed).permutation(len(images))[: checks.FEW].tolist()
    pixels = images.at(few, preprocessing, 0).to(device)
    with torch.inference_mode():
        logits = prepared(pixels[: checks.FINGERPRINT]).cpu().numpy()
    outputs = logits.shape[1]
    # A function has no weights to be known by, so that its logits tell whose predictions a folder holds.
    unfinished = unfinished / hashlib.sha256(logits.tobytes()).hexdigest()[:16] if unfinished else None
    names, labels = _match_classes(model, images, outputs)
    check = None if labels is None else checks.check(model, preprocessing, pixels, labels[few])
    if check and not options.any_accuracy:
        checks.refuse_chance(check, model.name)
    notes = [*model.notes, *([RANDOM] if is_random(prepared, pixels) else [])]
    on_checked(check, notes)
    if preset and preset.needs_labels and labels is None:
        raise UserError(f"--protocol {options.published} is of accuracies, which need labels")
    source, digest = PreparedImages(images, preprocessing), images.sha256()
    executor = executor or local(prepared, device)
    published = {}
    if preset:
        plan = preset.plan(len(images), preprocessing.shape, evaluation.seed)
        kept = store(unfinished, options.published, evaluation.seed, preprocessing, digest)
        published = preset.estimate(predict(source, plan, executor, kept, on_progress), labels, evaluation.seed)
    parameters, products = _cost(prepared, pixels[0])
    predicted, metrics = {}, {}
    for boundary in evaluation.boundaries:
        about = PredictionMetadata(
            images.name, digest, names, model.digest, preprocessing.shape, False, boundary, parameters, products
        )
        kept = store(unfinished, about, evaluation, preprocessing)
        predicted[boundary] = predict_evaluation(source, labels, about, evaluation, executor, kept, on_progress)
        metrics[boundary] = evaluate(predicted[boundary], evaluation.radius, evaluation.phase, labels is not None)
    metadata = {
        "model": {
            **{"name": model.name, "kind": model.kind, "digest": model.digest, "outputs": outputs},
            **{"parameters": parameters, "multiply_adds": products, "notes": notes},
        },
        "data": {
            **{"name": images.name, "digest": digest, "images": len(images), "of": images.total},
            "classes": len(names),
        },
        "options": options.recorded(),
        "protocol": {
            **evaluation.model_dump(exclude={"images"}),
            "shifts": next(iter(metrics.values())).shifts,
            "of_shifts": (2 * evaluation.radius + 1) ** 2,
            "images": len(images),
            "published": preset.paper if preset else None,
        },
        "preprocessing": {**asdict(preprocessing), "dtype": "float32", "in_words": str(preprocessing)},
        "made_on": description(device),
    }
    outcomes = thresholds.hold(limits, metrics)
    return Audit(evaluation, metrics, predicted, check, outcomes, published, metadata, images, preprocessing)


def _match_classes(model: Model, images: Images, outputs: int) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Return the outputs' names, and the images' labels as numbers of outputs, `(N,)`.

    Raises:
        UserError: the classes of the images can't be told among the outputs.
    """
    labels = images.labels
    if model.classes is not None and len(model.classes) != outputs:
        raise UserError(
            f"{len(model.classes)} classes are named, but {model.name} has {outputs} outputs: name each one"
        )
    if images.classes is None or labels is None:
        return model.classes or numbered(outputs), None
    if model.classes is None:
        if len(images.classes) == outputs:
            return images.classes, labels
        raise UserError(
            f"{model.name} has {outputs} outputs, and {images.name} {len(images.classes)} classes: name the outputs in "
            "their order, one on a line, with --classes FILE"
        )
    place = {name: number for number, name in enumerate(model.classes)}
    if unknown := [name for name in images.classes if name not in place]:
        if len(images.classes) == outputs and set(images.classes) == set(numbered(outputs)):
            return model.classes, labels  # they have no names but their numbers
        raise UserError(
            f"the class {unknown[0]!r} of {images.name} is not among the outputs of {model.name} "
            f"({', '.join(model.classes[:10])}{', ...' if outputs > 10 else ''}): rename it, or give --classes FILE"
        )
    return model.classes, np.array([place[name] for name in images.classes])[labels]


def _cost(prepared: PreprocessedModel, image: Tensor) -> tuple[int, int]:
    """Parameters and products of one image's forward pass; 0 where they can't be counted."""
    if not isinstance(prepared.model.module, nn.Module) or isinstance(prepared.model.module, torch.jit.ScriptModule):
        return 0, 0
    try:
        return cost.count(prepared, image)
    except (RuntimeError, NotImplementedError, UserError):
        return sum(weights.numel() for weights in prepared.parameters()), 0
