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
from pydantic import ValidationError
from torch import Tensor, nn

from shiftlab import files
from shiftlab.audits import asking, checks, presets, thresholds
from shiftlab.audits.adapters import Given
from shiftlab.audits.asking import Ask
from shiftlab.audits.checks import Check
from shiftlab.audits.images import Images, of_arrays
from shiftlab.audits.model import Model, PreprocessedModel, is_random
from shiftlab.audits.modules import device_of, modes_kept, of_module
from shiftlab.audits.preprocessing import Preprocessing, PreprocessingHints, carried
from shiftlab.audits.thresholds import Outcome
from shiftlab.config.params import BoundaryName, Evaluation, refuse_radius
from shiftlab.data.dataset import numbered
from shiftlab.device import description
from shiftlab.errors import UserError, extra
from shiftlab.metrics import evaluation
from shiftlab.metrics.evaluation import Metrics
from shiftlab.metrics.intervals import Estimate
from shiftlab.models import cost
from shiftlab.reports import audit as show
from shiftlab.reports import plots, primitives, tables
from shiftlab.shifts import predictions
from shiftlab.shifts.predictions import PredictionMetadata, Predictions

if TYPE_CHECKING:
    import pandas

RANDOM = "it is random: asked twice, it gives different answers, and consistency is lower for it"
METRICS, REPORT, KEPT = "metrics.json", "report.html", ".unfinished"


@dataclass(frozen=True)
class Audit:
    """What came of an audit. Metrics are shares in 0..1 with 95% intervals; boundaries are in the order asked for."""

    model: str
    data: str
    protocol: Evaluation
    metrics: dict[BoundaryName, Metrics]
    answers: dict[BoundaryName, Predictions]
    check: Check | None  # None where there are no labels
    outcomes: list[Outcome]  # of thresholds
    published: dict[str, Estimate]  # of a published protocol
    about: Mapping[str, Any]  # all that makes it repeatable
    images: Images
    preprocessing: Preprocessing

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
        every = self._of(self.metrics[boundary])
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
        return self.metric("robust_accuracy")

    def rows(self) -> list[dict[str, Any]]:
        """Every metric in every boundary: boundary, metric, value, low, high."""
        return [
            {"boundary": evaluation.boundary_name(found.about), "metric": name, **_ends(one)}
            for found in self.metrics.values()
            for name, one in self._of(found).items()
        ]

    def to_frame(self) -> pandas.DataFrame:
        """`rows` as a table of pandas."""
        with extra("mlflow"):
            import pandas
        return pandas.DataFrame(self.rows()).set_index(["boundary", "metric"])

    def plot(self, what: str = "maps", boundary: BoundaryName | None = None) -> show.Picture:
        """One of the report's pictures as PNG, which a notebook shows.

        Raises:
            UserError: there is no such picture or boundary.
        """
        drawn = self._pictures()
        name = f"{boundary or next(iter(self.metrics))}-{what}"
        if name not in drawn:
            raise UserError(f"no picture {name!r} of this audit, only {', '.join(drawn)}")
        return show.Picture(drawn[name])

    def summary(self) -> dict[str, Any]:
        """All numbers, in JSON's types: the content of metrics.json."""
        metrics = {
            evaluation.boundary_name(found.about): {name: _ends(one) for name, one in self._of(found).items()}
            for found in self.metrics.values()
        }
        check = None
        if self.check:
            held = _ends(self.check.accuracy)
            check = {"accuracy": held, "chance": self.check.chance, "otherwise": self.check.otherwise}
        return {
            **self.about,
            "labelled": self.labelled,
            "metrics": metrics,
            "published": {name: _ends(one) for name, one in self.published.items()},
            "check": check,
            "thresholds": [asdict(one) for one in self.outcomes],
        }

    def save(self, folder: str | Path) -> Path:
        """Write report.html, metrics.json, a folder of CSVs for each boundary, and all answers, for `shiftlab compare`.

        Returns:
            The report's path.

        Raises:
            OSError: as `files.write`.
        """
        place = Path(folder)
        for boundary, found in self.metrics.items():
            if self.labelled:
                tables.write_tables(found, place / boundary)
            predictions.save(self.answers[boundary], place / "answers" / f"{boundary}.safetensors")
        summary = self.summary()
        files.write(place / REPORT, show.page(summary, self._pictures()))
        files.write(place / METRICS, json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return place / REPORT

    def _of(self, found: Metrics) -> dict[str, Estimate]:
        every = found.accuracies | found.summary
        if self.labelled:
            return every
        return {name: every[name] for name in ("consistency", "agreement", "euclidean", "cosine")}

    def _pictures(self) -> dict[str, bytes]:
        drawn: dict[str, bytes] = {}
        for boundary, found in self.metrics.items():
            if not self.labelled:
                kinds = plots.of_unlabelled({self.model: found})
                drawn |= {f"{boundary}-{name}": picture for name, picture in kinds.items()}
                continue
            drawn |= {f"{boundary}-{name}": picture for name, picture in plots.of_models({self.model: found}).items()}
            of_sets = {self.model: {name: found.confusions[name] for name in ("clean", "random5")}}
            caption = f"boundary {evaluation.boundary_name(found.about)}: confusion matrices"
            drawn[f"{boundary}-confusion"] = primitives.confusions(of_sets, found.about.classes, caption)
            drawn[f"{boundary}-gallery"] = self._gallery(boundary, found)
        return drawn

    def _gallery(self, boundary: BoundaryName, found: Metrics) -> bytes:
        """Of the few images that it shows, which are read anew."""
        places = [one.image for one in plots.in_gallery(found)]
        margin = asking.margin_of(boundary, self.protocol)
        read = self.images.at(places, self.preprocessing, margin) if places else torch.zeros(0, 1, 1, 1)
        return plots.gallery(found, self.model, dict(zip(places, read, strict=True)))

    def __repr__(self) -> str:
        return f"Audit of {self.model} on {self.data}\n{show.table(self.summary())}"


def _ends(one: Estimate) -> dict[str, float | None]:
    values = {"value": one.value, "low": one.low, "high": one.high}
    return {name: None if value != value else value for name, value in values.items()}


def audit(
    model: Callable[[Tensor], object],
    images: NDArray[Any] | Tensor,
    labels: NDArray[Any] | Tensor | Sequence[int] | None = None,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    boundaries: Sequence[BoundaryName] = ("zero", "circular"),
    radius: int = 8,
    shifts: int | str = 64,
    count: int | str = 1000,
    seed: int = 0,
    published: str | None = None,
    fail_under: Sequence[str] = (),
    any_accuracy: bool = False,
    on_progress: Callable[[int], object] = lambda _: None,
    **preprocessing: Any,
) -> Audit:
    """Measure how a model fares when images are shifted.

    Args:
        model: an nn.Module, which is asked in evaluation mode where its weights are, and left as it was; or any
            function of a batch of prepared images (a float32 Tensor on the CPU), that gives a row of logits or
            probabilities for each. scikit-learn:
            `lambda batch: found.predict_proba(batch.numpy().reshape(len(batch), -1))`.
        images: raw, whole numbers in 0..255: `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`.
        labels: whole numbers from 0, `(N,)`; None: consistency, agreement and sensitivity alone are measured.
        name: what the report calls the model.
        classes: their names.
        boundaries: "zero", "circular" or "crop"; PROTOCOL.md, "The shift".
        radius: pixels, of the largest shift along each axis.
        shifts: how many of the grid's are drawn, or "all".
        count: how many images are drawn, each class in its share, or "all".
        seed: of both.
        published: a published protocol that is measured besides: "zhang2019", "chaman2021", "mnist-c", "kauderer2017".
        fail_under: metrics and the least that they have to be, as "consistency=0.95".
        any_accuracy: audit a model that is no better than chance, too.
        on_progress: called with the number of images classified since the last call.
        preprocessing: how raw pixels become inputs: `mean`, `std` (of the scale of `white`), `white` (what 255 becomes:
            1, the default, or 255), `channels` ("grey", "rgb", "bgr"; one channel is grey), `layout` ("nchw", "nhwc",
            "nhw"), `resize` (the shorter side), `frame` (height and width of the middle), `interpolation`.

    Raises:
        UserError: a metric, shape, range or option that can't be; the model fails; it is no better than chance.
    """
    held = of_arrays("images", _array(images), None if labels is None else _array(labels), classes)
    size = held.size()
    known = carried(preprocessing)
    label = name or str(type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "model"))
    device = device_of(model) if isinstance(model, nn.Module) else torch.device("cpu")
    one_channel = PreprocessingHints(channels="grey") if size and size[0] == 1 else PreprocessingHints()
    with modes_kept(model):
        if isinstance(model, nn.Module):
            wrapped = of_module(model, label, "python", Given(device=device))
        else:
            wrapped = Model(label, "python", model)
        return run(
            wrapped,
            held.chosen(count, seed),
            Preprocessing.of(known.merge(wrapped.carried).merge(one_channel), size),
            protocol(boundaries, radius, shifts, count, seed),
            device,
            fail_under=fail_under,
            any_accuracy=any_accuracy,
            preset=published,
            on_progress=on_progress,
        )


def protocol(
    boundaries: Sequence[BoundaryName], radius: int, shifts: int | str, count: int | str, seed: int
) -> Evaluation:
    """What is measured.

    Raises:
        UserError: a value that can't be.
    """
    values = {
        "boundaries": list(boundaries),
        "radius": radius,
        "shifts": shifts,
        "images": count,
        "phase": 1,
        "seed": seed,
    }
    try:
        Evaluation.model_validate(values)
        return Evaluation.model_validate({**values, "phase": min(4, radius), "images": "all"})
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0]
        raise UserError(f"{where} is {values[str(where)]!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def run(
    model: Model,
    images: Images,
    preprocessing: Preprocessing,
    asked: Evaluation,
    device: torch.device,
    *,
    kept: Path | None = None,
    fail_under: Sequence[str] = (),
    any_accuracy: bool = False,
    preset: str | None = None,
    ask: Ask | None = None,
    on_checked: Callable[[Check | None, Sequence[str]], object] = lambda *_: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Audit:
    """Audit a model on images: `audit`, with everything read.

    Args:
        preset: a published protocol, measured besides.
        kept: a folder for what is done, from which a later attempt goes on.
        ask: has the images answered; None: in this process.
        on_checked: called with the check and what a reader should know, before the long part begins.

    Raises:
        UserError: as `audit`.
    """
    try:
        refuse_radius(asked.radius, preprocessing.frame)
    except ValueError as error:
        raise UserError(str(error).replace("evaluation.radius", "--radius")) from None
    chosen = presets.of(preset) if preset else None
    wanted = thresholds.parse(fail_under, asked.boundaries, images.labels is not None)
    prepared = PreprocessedModel(model, preprocessing).eval()
    few = np.random.default_rng(asked.seed).permutation(len(images))[: checks.LOOKED_AT].tolist()
    looked_at = images.at(few, preprocessing, 0).to(device)
    with torch.inference_mode():
        logits = prepared(looked_at[: checks.TRIED]).cpu().numpy()
    outputs = logits.shape[1]
    # What was kept is of this very model: of a function there is nothing else to know it by.
    kept = kept / hashlib.sha256(logits.tobytes()).hexdigest()[:16] if kept else None
    names, labels = _matched(model, images, outputs)
    check = None if labels is None else checks.check(model, preprocessing, looked_at, labels[few])
    if check and not any_accuracy:
        checks.refuse_chance(check, model.name)
    notes = [*model.notes, *([RANDOM] if is_random(prepared, looked_at) else [])]
    on_checked(check, notes)
    published = {}
    if chosen:
        published = chosen.measure(presets.Asked(prepared, images, labels, device, asked.seed, on_progress))
    ask = ask or asking.here(prepared, asked, device, on_progress)
    digest = images.sha256()
    parameters, products = _cost(prepared, looked_at[0])
    answers, metrics = {}, {}
    for boundary in asked.boundaries:
        about = PredictionMetadata(
            images.name, digest, names, model.digest, preprocessing.shape, False, boundary, parameters, products
        )
        answers[boundary] = asking.answers(preprocessing, images, labels, asked, about, kept, ask, on_progress)
        metrics[boundary] = evaluation.evaluate(answers[boundary], asked.radius, asked.phase)
    facts = {
        "name": model.name,
        "kind": model.kind,
        "digest": model.digest,
        "outputs": outputs,
        "parameters": parameters,
        "multiply_adds": products,
        "notes": notes,
    }
    data = {"name": images.name, "digest": digest, "images": len(images), "of": images.count, "classes": len(names)}
    asked_in_full = {
        **asked.model_dump(exclude={"images"}),
        "shifts": next(iter(metrics.values())).shifts,
        "of_shifts": (2 * asked.radius + 1) ** 2,
        "images": len(images),
        "published": chosen.paper if chosen else None,
    }
    about_all = {
        "model": facts,
        "data": data,
        "protocol": asked_in_full,
        "preprocessing": {**asdict(preprocessing), "dtype": "float32", "in_words": str(preprocessing)},
        "made_on": description(device),
    }
    return Audit(
        model.name,
        images.name,
        asked,
        metrics,
        answers,
        check,
        thresholds.hold(wanted, metrics),
        published,
        about_all,
        images,
        preprocessing,
    )


def _matched(model: Model, images: Images, outputs: int) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """The outputs' names, and the images' labels as numbers of outputs.

    Raises:
        UserError: the classes of the images can't be told among the outputs.
    """
    labels = images.of_chosen
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


def _array(values: object) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
