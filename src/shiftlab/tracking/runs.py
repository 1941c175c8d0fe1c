"""Runs: one for each model's training, to which its evaluation adds its results, and one for each comparison.

Evaluation finds the run by the digest of the weights and the name of the DVC experiment: a run id in a DVC output would
make that output differ every time.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from mlflow import MlflowClient, entities
from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.time import get_current_time_millis

from shiftlab.tracking.history import WORKSPACE
from shiftlab.tracking.provenance import dvc_experiment, process, process_is_gone, provenance, sweep
from shiftlab.tracking.store import DESCRIPTION, Store

SERVING = ("numpy", "pydantic", "ruamel.yaml", "safetensors", "torch", "torchvision")  # what a logged model needs


@dataclass(frozen=True)
class Identity:
    """The data set, model and seed of a training."""

    data: str  # name of the data set
    data_md5: str  # of its file
    model: str  # name of the architecture
    seed: int
    shape: tuple[int, int, int]  # of an image: channels, height, width
    classes: tuple[str, ...]  # their names


def run_name(subject: str, seed: int | None = None, experiment: str = WORKSPACE) -> str:
    """Return the name of a run: "lenet seed 0", "comparison"; of a DVC experiment "lenet seed 0 calm-moth".

    The data set has no part in it: each has an experiment of its own in MLflow.
    """
    name = subject if seed is None else f"{subject} seed {seed}"
    return name if experiment == WORKSPACE else f"{name} {experiment}"


@dataclass(frozen=True)
class Run:
    """One run in the store."""

    store: Store
    id: str

    @property
    def client(self) -> MlflowClient:
        """MLflow's client; raises LostError where the store has failed before."""
        return self.store.client

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add metrics of one step, in one request."""
        self._log_points((name, step, value) for name, value in metrics.items())

    def log_curve(self, name: str, points: Iterable[tuple[int, float]]) -> None:
        """Add a metric of many steps, (step, value), in one request."""
        self._log_points((name, step, value) for step, value in points)

    def _log_points(self, points: Iterable[tuple[str, int, float]]) -> None:
        now = get_current_time_millis()
        with self.store.best_effort():
            self.client.log_batch(self.id, [entities.Metric(name, value, now, step) for name, step, value in points])

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, in one request."""
        with self.store.best_effort():
            self.client.log_batch(self.id, tags=[entities.RunTag(name, value) for name, value in tags.items()])

    def log_description(self, text: str, artifact: str, children: Sequence[str] = ()) -> None:
        """Set the description, Markdown.

        Args:
            text: `{page}` in it stands for the address of an artifact in MLflow's UI, `{comparison}` for that of the
                page that compares runs.
            children: the ids of those runs.
        """
        experiment = self.store.experiment
        page = f"#/experiments/{experiment}/runs/{self.id}/artifacts/{artifact}"
        query = urlencode({"runs": json.dumps(children), "experiments": json.dumps([experiment])})
        self.log_tags({DESCRIPTION: text.format(page=page, comparison=f"#/compare-runs?{query}")})

    def log_path(self, path: Path, folder: str | None = None) -> None:
        """Add a file, or all that a folder holds, to the artifacts."""
        with self.store.best_effort():
            log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            log(self.id, str(path), folder)

    def log_model(self, weights: Path, identity: Identity) -> None:
        """Add the weights to the artifacts as a model that MLflow can load and serve, in the folder `model`.

        It holds the weights' file, this package, no pickle; `shiftlab.tracking.serving` loads it. It takes raw images
        and gives logits, float32 `(N, classes)`. The images are float32, 0 to 255, since MLflow casts what JSON holds
        to the signature's type without a word: of a pixel of 0.5 a whole number would make a black one.
        """
        from mlflow import pyfunc  # seconds to import, for those alone who need it
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        shape, classes = identity.shape, identity.classes
        images = TensorSpec(np.dtype(np.float32), (-1, *request_shape(shape)))
        logits = TensorSpec(np.dtype(np.float32), (-1, len(classes)))
        logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # or it tells that it looks at the example
        with self.store.best_effort(), tempfile.TemporaryDirectory() as folder:
            pyfunc.save_model(
                f"{folder}/model",
                loader_module="shiftlab.tracking.serving",
                data_path=str(weights),
                code_paths=[str(Path(__file__).parents[1])],
                signature=ModelSignature(Schema([images]), Schema([logits])),
                input_example=np.zeros((2, *request_shape(shape)), np.float32),
                pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in SERVING],
                model_config={"architecture": identity.model, "shape": list(shape), "classes": list(classes)},
            )
            self.client.log_artifacts(self.id, folder)

    def end(self, status: str, reason: str = "") -> None:
        """Mark the run as ended: FINISHED, FAILED or KILLED."""
        if reason:
            self.log_tags({"ended": reason[:1000]})
        with self.store.best_effort():
            self.client.set_terminated(self.id, status)


def request_shape(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of an image of `(channels, height, width)` in a request: grey without a channel."""
    return shape[1:] if shape[0] == 1 else shape


@contextlib.contextmanager
def training(store: Store, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Run]:
    """Yield a new run, which ends with the block.

    It ends as FINISHED, as KILLED where the user interrupted it, else as FAILED; the tag `ended` says why. Meanwhile it
    records what the machine does, every few seconds.
    """
    run = _start_training(store, identity, params, {**process(), **tags})
    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # it says that it starts, and stops
    monitor = None if store.lost else SystemMetricsMonitor(run.id, tracking_uri=run.client.tracking_uri)
    if monitor:
        monitor.start()
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", f"{type(error).__name__}: {error}")
        raise
    finally:
        if monitor:
            monitor.finish()
    _finish(run)


def restore(store: Store, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Run:
    """Return a new run, with the tag `restored`, for results that DVC took from its cache or the store has lost."""
    return _finish(_start_training(store, identity, params, {**tags, "restored": "true"}))


def create(store: Store, subject: str, tags: Mapping[str, str]) -> Run:
    """Return a new run, which has ended, for what is no training: a comparison of models, a study."""
    return _finish(_start(store, subject, None, tags))


def parent(store: Store, name: str, tags: Mapping[str, str]) -> Run:
    """Return the run of this name that others are below, made where there is none yet."""
    runs = _search(store, f"attributes.run_name = '{name}'")
    return Run(store, runs[0].info.run_id) if runs else create(store, name, tags)


def add_child(parent: Run, name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> str:
    """Add a finished run below another, in three requests: one for each training of a study adds up. Return its id."""
    child, now = "", get_current_time_millis()
    with parent.store.best_effort():
        client = parent.client
        run = client.create_run(parent.store.experiment, run_name=name, tags={"mlflow.parentRunId": parent.id})
        child = str(run.info.run_id)
        points = [entities.Metric(key, value, now, 0) for key, value in metrics.items()]
        client.log_batch(child, points, _as_params(params))
        client.set_terminated(child, "FINISHED")
    return child


def end_interrupted(store: Store, key: str = "") -> None:
    """Mark as killed what the store takes for running, but whose process on this machine is gone.

    Args:
        key: of a training that is about to begin again, which so has ended, wherever it was.
    """
    for run in _search(store, "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if (key and tags.get("training.key") == key) or process_is_gone(tags):
            Run(store, run.info.run_id).end("KILLED", "killed from outside; a later run goes on from its checkpoint")


def kill(store: Store, experiment: str, reason: str) -> None:
    """Mark as killed the runs of a DVC experiment that was ended on purpose."""
    for run in _search(store, f"tags.`dvc.experiment` = '{experiment}' AND attributes.status = 'RUNNING'"):
        Run(store, run.info.run_id).end("KILLED", reason)


def find(store: Store, weights_md5: str, experiment: str = "") -> Run | None:
    """Return the latest run that holds these weights, of a DVC experiment; of this process's if none is named."""
    experiment = experiment or dvc_experiment()
    for run in _search(store, f"tags.`weights.md5` = '{weights_md5}'"):
        same = run.data.tags.get("dvc.experiment") == experiment  # not in the condition: it may hold quotation marks
        if same and has_artifacts(store, run):
            return Run(store, run.info.run_id)
    return None


def metrics(store: Store, weights_md5: str) -> dict[str, float] | None:
    """Return the metrics of the latest training, in whatever experiment, that ended with these weights, if any."""
    condition = f"tags.`weights.md5` = '{weights_md5}' AND attributes.status = 'FINISHED'"
    trained = (run.data.metrics for run in _search(store, condition))
    return next((metrics for metrics in trained if "train/seconds" in metrics), None)  # a restored run was no training


def validation_curves(store: Store) -> dict[str, list[tuple[int, float]]]:
    """Return every running training's (epoch, accuracy on validation images), by its DVC experiment."""
    curves = {}
    for run in _search(store, "attributes.status = 'RUNNING'"):
        with store.best_effort():
            history = store.client.get_metric_history(run.info.run_id, "validation/accuracy")
            experiment = run.data.tags.get("dvc.experiment", WORKSPACE)
            curves[experiment] = [(point.step, point.value) for point in history]
    return curves


def results(store: Store) -> set[tuple[str, str]]:
    """Return the tags, names and values, of all runs of the experiment whose artifacts are there."""
    return {tag for run in _search(store, "") if has_artifacts(store, run) for tag in run.data.tags.items()}


def has_artifacts(store: Store, run: entities.Run) -> bool:
    """Return whether the store holds any; somebody may have deleted them, or the folder that they were in."""
    with store.best_effort():
        return bool(store.client.list_artifacts(run.info.run_id))
    return True


def _search(store: Store, condition: str) -> list[entities.Run]:
    """Return the experiment's runs that meet a condition, the latest first; none where the store is lost."""
    order, most = ["attributes.start_time DESC"], SEARCH_MAX_RESULTS_THRESHOLD  # 50,000: more than all of ours
    with store.best_effort():
        return list(store.client.search_runs([store.experiment], condition, max_results=most, order_by=order))
    return []


def _start(store: Store, subject: str, seed: int | None, tags: Mapping[str, str]) -> Run:
    tags = {**provenance(), **tags}
    tags["sweep"] = sweep(tags)
    name = run_name(subject, seed, tags["dvc.experiment"])
    with store.best_effort():
        return Run(store, store.client.create_run(store.experiment, run_name=name, tags=tags).info.run_id)
    return Run(store, "")


def _start_training(store: Store, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Run:
    run = _start(store, identity.model, identity.seed, {"data.md5": identity.data_md5, **tags})
    of_run = {"data": identity.data, "model": identity.model, "seed": identity.seed}
    source = json.dumps({"tags": {"stage": "download"}})
    dataset = entities.Dataset(identity.data, identity.data_md5, source_type="code", source=source)
    context = entities.InputTag("mlflow.data.context", "training")
    with store.best_effort():
        run.client.log_batch(run.id, params=_as_params({**of_run, **params}))
        run.client.log_inputs(run.id, [entities.DatasetInput(dataset, [context])])
    return run


def _as_params(params: Mapping[str, object]) -> list[entities.Param]:
    return [entities.Param(name, str(value)) for name, value in params.items()]


def _finish(run: Run) -> Run:
    """Mark a run as finished, and delete what earlier attempts at it in a DVC experiment have recorded as finished.

    They had done this stage when they were lost, and its results with them. In the workspace a run is one of many.
    """
    run.end("FINISHED")
    with run.store.best_effort():
        latest = run.client.get_run(run.id)
        if latest.data.tags["dvc.experiment"] != WORKSPACE:
            pattern = latest.info.run_name.replace("'", "_")  # any letter; a name in quotation marks may not hold them
            for other in _search(run.store, f"attributes.status = 'FINISHED' AND attributes.run_name LIKE '{pattern}'"):
                if other.info.run_id != run.id and _identity(other) == _identity(latest):
                    run.client.delete_run(other.info.run_id)
    return run


def _identity(run: entities.Run) -> tuple[str, str]:
    return run.info.run_name, run.data.tags.get("mlflow.source.git.commit", "")
