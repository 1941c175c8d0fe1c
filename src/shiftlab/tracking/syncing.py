"""Log to MLflow, once, what its store lacks of the results that Git and DVC hold.

That is what DVC took from its cache rather than ran, what was made while the store could not be used, and, where the
store is a new one, everything: the results of every commit, of every DVC experiment, and of the workspace.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shiftlab.config.params import Augmentation, Training, recorded
from shiftlab.errors import UserError
from shiftlab.tracking import history, recording, runs
from shiftlab.tracking.history import MissingError, Revision
from shiftlab.tracking.store import Kind, Store, connect

EARLIER = "made by earlier code: check that commit out and run `make sync` there, or make them anew with `dvc repro`"
REPORT, STUDY_REPORT, PLOTS = "reports/index.html", "reports/study/index.html", "plots/pictures"


@dataclass(frozen=True)
class Result:
    """A result of a revision, which one run in MLflow holds."""

    kind: Kind  # of the experiment in MLflow
    data: str  # name of the data set
    tag: tuple[str, str]  # of the run that holds it
    title: str
    log: Callable[[Store, Path], None]  # its second argument is an empty folder; raises MissingError before it logs


def results(revision: Revision) -> Iterator[Result]:
    """Yield what the stages of a revision have made: the one place that knows which stage leaves which result."""
    for stage in revision.stages:
        name, _, model = stage.partition("@")
        outputs = revision.outputs(stage)
        if name == "evaluate":
            yield from _evaluations(revision, model)
        elif name == "compare" and REPORT in outputs:
            data, tag = _data(revision, stage), ("report.md5", outputs[REPORT])
            log = partial(_log_comparison, revision, data)
            yield Result("trainings", data, tag, f"comparison on {data} ({revision})", log)
        elif name == "decide":
            data = _data(revision, next(name for name in revision.stages if name.startswith("study@")))
            tag, log = ("study.md5", outputs[STUDY_REPORT]), partial(_log_study, revision, stage)
            yield Result("study", data, tag, f"study on {data} ({revision})", log)


def _evaluations(revision: Revision, model: str) -> Iterator[Result]:
    """Yield a model's of every seed and boundary; nothing where an experiment on one stage has left others behind."""
    evaluate = f"evaluate@{model}"
    if "evaluation" not in revision.params(evaluate):  # a stage for each seed, as before boundary modes had that name
        training = next((stage for stage in revision.stages if stage.startswith("train@")), None)
        if training:
            data, tag = _data(revision, training), (evaluate, revision.tree or "")
            yield Result("trainings", data, tag, f"{model} on {data} ({revision})", _refuse)
        return
    for seed in revision.params(evaluate)["seeds"]:
        key = f"{model}-{seed}"
        train, predict, weights = f"train@{key}", f"predict@{key}", f"models/{key}.safetensors"
        if not {train, predict} <= revision.stages.keys():
            continue
        if revision.inputs(predict).get(weights) != revision.outputs(train).get(weights):
            continue
        data, digest = _data(revision, train), revision.outputs(predict)[f"predictions/{model}/{seed}"]
        for boundary in revision.params(evaluate)["evaluation"]["boundaries"]:
            log = partial(_log_evaluation, revision, data, model, seed, boundary, digest)
            tag, title = (f"predictions.{boundary}", digest), f"{model} seed {seed}, {boundary}, on {data} ({revision})"
            yield Result("trainings", data, tag, title, log)


def _refuse(*_: object) -> None:
    raise MissingError(EARLIER)


def _log_evaluation(
    revision: Revision, data: str, model: str, seed: int, boundary: str, digest: str, store: Store, folder: Path
) -> None:
    """Add a model's metrics in a boundary mode to the run of its training, which is made where there is none."""
    key = f"{model}-{seed}"
    train, weights_path = f"train@{key}", f"models/{key}.safetensors"
    weights_md5 = revision.outputs(train)[weights_path]
    evaluation = revision.outputs(f"evaluate@{model}")[f"reports/{model}"]
    metrics = history.checkout(evaluation, folder / "metrics") / str(seed) / boundary
    weights = history.checkout(weights_md5, folder / Path(weights_path).name)
    metadata = recording.metadata(metrics)
    if metadata["weights_md5"] != weights_md5:
        raise MissingError("evaluated with other weights: `dvc repro` brings them together")
    epochs = revision.read(f"plots/{key}/history.csv").decode()

    run = runs.find(store, weights_md5, revision.experiment)
    if run is None:
        params = revision.params(train)
        augmentation = Augmentation.model_validate(params["augmentation"])
        training = Training.model_validate(params[f"models.{model}"])
        machine = (params["device"], params["threads"], params["determinism"])
        settings = recorded(params["recipe"], augmentation, *machine, training)
        identity = runs.Identity(
            data, metadata["data_md5"], model, seed, tuple(metadata["shape"]), tuple(metadata["classes"])
        )
        run = recording.restore_training(store, identity, settings, weights, epochs, _provenance(revision, train))
    recording.log_evaluation(run, boundary, digest, metrics)


def _log_comparison(revision: Revision, data: str, store: Store, folder: Path) -> None:
    """Log a report on several models as a run of its own."""
    outputs = revision.outputs("compare")
    if PLOTS not in outputs:
        raise MissingError(EARLIER)
    page = history.checkout(outputs[REPORT], folder / "index.html")
    plots = history.checkout(outputs[PLOTS], folder / "plots")
    recording.log_comparison(store, data, page, plots, _provenance(revision, "compare"))


def _log_study(revision: Revision, stage: str, store: Store, folder: Path) -> None:
    """Log a study as a run of its own, with one below it for each training."""
    outputs = revision.outputs(stage)
    # First, since git takes long for what may not be of use.
    history.checkout(outputs[STUDY_REPORT], folder / "index.html")
    summary = json.loads(revision.read("metrics/study.json"))
    for path in map(Path, outputs):
        if path.parent == Path(STUDY_REPORT).parent and path.suffix != ".html":
            (folder / path.name).write_bytes(revision.read(str(path)))
    recording.log_study(store, summary, folder, _provenance(revision, stage))


def sync() -> None:
    """Log all that Git and DVC hold, and print it; what several revisions have is logged as the oldest has it.

    Raises:
        UserError: the working directory is not the repository's root; MLflow's store can't be used.
    """
    if not Path("dvc.yaml").exists():
        raise UserError("no dvc.yaml here: run this from the repository's root")
    by_key = defaultdict[tuple[str, Kind, tuple[str, str]], list[Result]](list)
    for revision in history.revisions():
        for result in results(revision):
            by_key[result.data, result.kind, result.tag].append(result)
    stores = {(data, kind): connect(data, kind=kind) for data, kind in dict.fromkeys(key[:2] for key in by_key)}
    for store in stores.values():
        runs.end_interrupted(store)
    stored = {(*key, tag) for key, store in stores.items() for tag in runs.results(store)}
    logged, left_out = 0, defaultdict[str, list[str]](list)
    for (data, kind, tag), same in by_key.items():
        if (data, kind, tag) not in stored:
            try:
                print(f"logged: {_log_first(same, stores[data, kind])}", flush=True)
                logged += 1
            except MissingError as error:
                # The revision that made it: later ones have its entry in dvc.lock.
                left_out[str(error)].append(same[0].title)
    for reason, titles in left_out.items():
        others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        print(f"left out: {titles[-1]}{others}: {reason}")
    print(f"MLflow has {len(by_key.keys() & stored) + logged} results, {logged} of them new; `make ui` shows them.")


def _log_first(same: list[Result], store: Store) -> str:
    """Log a result as the first of the revisions has it that has all of it; return its title.

    Raises:
        MissingError: none has.
    """
    for result in same:
        try:
            with tempfile.TemporaryDirectory() as folder:
                result.log(store, Path(folder))
            return result.title
        except MissingError as error:
            reason = error
    raise reason


def _data(revision: Revision, stage: str) -> str:
    """Return the name of the data set that a stage depends on."""
    (name,) = (path.split("/")[1] for path in revision.inputs(stage) if path.startswith("data/"))
    return name


def _provenance(revision: Revision, stage: str) -> dict[str, str]:
    """Return the tags that lead from a restored run back to the code that made it."""
    return {
        "dvc.experiment": revision.experiment,
        "dvc.stage": stage,
        "mlflow.source.git.commit": revision.commit,
        "git.dirty": str(revision.tree is None).lower(),
        "restored": "true",
    }
