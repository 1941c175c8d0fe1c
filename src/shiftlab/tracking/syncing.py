"""Log to MLflow, once, what its store lacks of the results that Git and DVC hold.

That is what DVC took from its cache rather than ran, what was made while the store could not be used, and, where the
store is a new one, everything: the results of every commit, of every DVC experiment, and of the workspace.
"""

import functools
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from shiftlab.config.params import Augmentation, Training, recorded
from shiftlab.errors import UserError
from shiftlab.tracking import history, recording, runs
from shiftlab.tracking.history import Cache, MissingError, Revision
from shiftlab.tracking.store import STUDY, TRAININGS, Kind, Store, connect

EARLIER = "made by earlier code, which kept less"


class Record(Protocol):
    """Something that a run in the store holds, in an experiment of a kind; the run has a tag that tells."""

    kind: ClassVar[Kind]

    @property
    def data(self) -> str: ...
    @property
    def tag(self) -> tuple[str, str]: ...
    def log(self, store: Store, cache: Cache, folder: Path) -> None: ...


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics in one boundary, and with them its training."""

    kind: ClassVar[Kind] = TRAININGS
    revision: Revision
    data: str
    model: str
    seed: str
    boundary: Any
    predictions: str  # digest

    @property
    def tag(self) -> tuple[str, str]:
        """Of the run that has it."""
        return f"predictions.{self.boundary}", self.predictions

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed}, {self.boundary}, on {self.data} ({describe(self.revision)})"

    def log(self, store: Store, cache: Cache, folder: Path) -> None:
        """Add it to the run of its training, which is made where there is none.

        Raises:
            MissingError: DVC's cache lacks a part of it; nothing has been logged.
        """
        key = f"{self.model}-{self.seed}"
        train = f"train@{key}"
        outputs = self.revision.outputs(train)
        weights_path, history_path = f"models/{key}.safetensors", f"plots/{key}/history.csv"
        report = self.revision.outputs(f"evaluate@{key}")[f"reports/{key}"]
        metrics = cache.copy(report, folder / "metrics") / self.boundary
        weights = cache.copy(outputs[weights_path], folder / Path(weights_path).name)
        epochs = self.revision.text(history_path)

        run = runs.find(store, outputs[weights_path], self.revision.experiment)
        if run is None:
            about = recording.about(metrics)
            if "shape" not in about:
                raise MissingError(EARLIER)
            identity = runs.Identity(self.data, about["data_md5"], self.model, int(self.seed))
            chosen = self.revision.params(train)
            moved = Augmentation.model_validate(chosen.get("augmentation", {"kind": "none", "pixels": 0}))
            trained = Training.model_validate(chosen[f"models.{self.model}"])
            determinism = chosen.get("determinism", "portable")  # which all was before it could be chosen
            settings = recorded(chosen["recipe"], moved, chosen["device"], chosen["threads"], determinism, trained)
            tags = provenance(self.revision, train)
            run = recording.restore_training(
                store, identity, settings, weights, tuple(about["shape"]), tuple(about["classes"]), epochs, tags
            )
        recording.log_evaluation(run, self.boundary, self.predictions, metrics)


@dataclass(frozen=True)
class Comparison:
    """A report on several models."""

    kind: ClassVar[Kind] = TRAININGS
    revision: Revision
    data: str
    report: str  # digest

    @property
    def tag(self) -> tuple[str, str]:
        """Of the run that has it."""
        return "report.md5", self.report

    def __str__(self) -> str:
        return f"comparison on {self.data} ({describe(self.revision)})"

    def log(self, store: Store, cache: Cache, folder: Path) -> None:
        """As a run of its own.

        Raises:
            MissingError: as `Evaluation.log`.
        """
        outputs = self.revision.outputs("compare")
        if "plots/pictures" not in outputs:
            raise MissingError(EARLIER)
        page = cache.copy(self.report, folder / "index.html")
        pictures = cache.copy(outputs["plots/pictures"], folder / "pictures")
        tags = {**provenance(self.revision, "compare"), "restored": "true"}
        recording.log_comparison(store, self.data, page, pictures, tags)


@dataclass(frozen=True)
class Study:
    """What a study found."""

    kind: ClassVar[Kind] = STUDY
    revision: Revision
    data: str
    stage: str
    page: str  # digest

    @property
    def tag(self) -> tuple[str, str]:
        """Of the run that has it."""
        return "study.md5", self.page

    def __str__(self) -> str:
        return f"study on {self.data} ({describe(self.revision)})"

    def log(self, store: Store, cache: Cache, folder: Path) -> None:
        """As a run of its own, with one below it for each training.

        Raises:
            MissingError: as `Evaluation.log`.
        """
        cache.copy(self.page, folder / "index.html")  # first, since git takes long for what may not be of use
        summary = json.loads(self.revision.text("metrics/study.json"))
        for path in self.revision.outputs(self.stage):
            if path.startswith("reports/study/") and not path.endswith(".html"):
                (folder / Path(path).name).write_bytes(self.revision.content(path))
        tags = {**provenance(self.revision, self.stage), "restored": "true"}
        recording.log_study(store, summary, folder, tags)


def sync() -> None:
    """Go through all that Git and DVC hold, and tell; what several revisions have is logged as the oldest has it.

    Raises:
        UserError: the working directory is not the repository's root; MLflow's store can't be used.
    """
    if not Path("dvc.yaml").exists():
        raise UserError("no dvc.yaml here: run this from the repository's root")
    records = defaultdict[tuple[str, str], list[Record]](list)
    for record in records_of_all():
        records[record.tag].append(record)
    cache = functools.cache(Cache.of_repository)  # seconds to open, for those alone who need it
    known, logged, left_out = 0, 0, defaultdict[str, list[str]](list)
    experiments = {(same[0].data, same[0].kind) for same in records.values()}
    for data, kind in sorted(experiments, key=str):
        store = connect(data, kind=kind)
        runs.end_interrupted(store)
        there = {tag for run in runs.tags(store) for tag in run.items()}
        for tag, same in records.items():
            if (same[0].data, same[0].kind) != (data, kind):
                continue
            if tag in there:
                known += 1
                continue
            try:
                print(f"logged: {log_first(same, store, cache())}", flush=True)
                logged += 1
            except MissingError as error:
                left_out[str(error)].append(str(same[-1]))
    for reason, names in left_out.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"left out: {names[-1]}{others}: {reason}")
    print(f"MLflow has {known + logged} results, {logged} of them new; `make ui` shows them.")


def log_first(same: list[Record], store: Store, cache: Cache) -> Record:
    """Log a result as the first of the revisions has it that has all of it; returns that.

    Raises:
        MissingError: none has.
    """
    for record in same:
        try:
            with tempfile.TemporaryDirectory() as folder:
                record.log(store, cache, Path(folder))
            return record
        except MissingError as error:
            reason = error
    raise reason


def records_of_all() -> Iterator[Record]:
    """Everything that any dvc.lock names, as often as it does."""
    for revision in history.revisions():
        for stage in revision.stages:
            if stage.startswith("evaluate@"):
                yield from evaluations(revision, stage.removeprefix("evaluate@"))
            elif stage == "compare" and (digest := revision.outputs(stage).get("reports/index.html")):
                yield Comparison(revision, data_name(revision, stage), digest)
            elif stage.startswith("decide@"):
                trained = next(name for name in revision.stages if name.startswith("study@"))
                page = revision.outputs(stage)["reports/study/index.html"]
                yield Study(revision, data_name(revision, trained), stage, page)


def evaluations(revision: Revision, key: str) -> Iterator[Evaluation]:
    """Of every boundary; nothing where the stages before have other results by now, as after an experiment on one."""
    train, evaluate, weights = f"train@{key}", f"evaluate@{key}", f"models/{key}.safetensors"
    predicted = {}
    for boundary in revision.params(evaluate).get("evaluation.boundaries", []):
        predict, path = f"predict@{key}-{boundary}", f"predictions/{key}/{boundary}.safetensors"
        if not {train, predict} <= set(revision.stages):
            return
        if revision.inputs(predict).get(weights) != revision.outputs(train).get(weights):
            return
        predicted[boundary] = revision.outputs(predict).get(path, "none")
    digests = {f"{boundary}.safetensors": digest for boundary, digest in predicted.items()}
    if revision.inputs(evaluate).get(f"predictions/{key}") != history.folder_digest(digests):
        return
    model, seed = key.rsplit("-", 1)
    for boundary, digest in predicted.items():
        yield Evaluation(revision, data_name(revision, train), model, seed, boundary, digest)


def data_name(revision: Revision, stage: str) -> str:
    """The data set that a stage depends on."""
    (name,) = (path.split("/")[1] for path in revision.inputs(stage) if path.startswith("data/"))
    return name


def describe(revision: Revision) -> str:
    """Where a result comes from, for people."""
    if revision.experiment != history.WORKSPACE:
        return f"experiment {revision.experiment}"
    return f"commit {revision.tree[:7]}" if revision.tree else "workspace"


def provenance(revision: Revision, stage: str) -> dict[str, str]:
    """The tags that lead from a restored run back to the code that made it."""
    return {
        "dvc.experiment": revision.experiment,
        "dvc.stage": stage,
        "mlflow.source.git.commit": revision.commit,
        "git.dirty": str(revision.tree is None).lower(),
    }
