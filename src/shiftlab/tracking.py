"""Every MLflow call, and the only importer of mlflow.

A run is one model's training, to which its evaluation adds its results. Evaluation finds it by the digest of the
weights and the name of the DVC experiment: a run id in a DVC output would make that output differ every time.
"""

import contextlib
import functools
import getpass
import json
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # as .dvc/config does DVC's; MLflow reads it on import

import numpy as np
import psutil
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock
from mlflow import MlflowClient, entities
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.time import get_current_time_millis
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from shiftlab.errors import UserError
from shiftlab.params import TrackingChoice
from shiftlab.results import WORKSPACE

PATIENCE_S = 5  # with a tracking server that does not answer, at the start of a stage
# What makes a result; the outputs that git keeps change while the pipeline runs.
INPUTS = ["src", "conf", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock"]
ABOUT = (
    "Models trained and evaluated on {}: a run for each, and one for each comparison, which holds the report. Group "
    "the runs by the tag `sweep` to see those of one sweep together. Metrics named `zero/...` and `circular/...` are "
    "of the test images, shifted in that regime."
)
# The columns of the experiment's page, as MLflow keeps a view that somebody shares; an address can name it.
VIEW = "mlflow.sharedViewState.shiftlab"
COLUMNS = [
    *(f"metrics.`{name}`" for name in ("validation/best accuracy", "zero/clean", "zero/right5", "zero/consistency")),
    *("params.`model`", "params.`lr`", "params.`epochs`", "tags.`sweep`"),
]
SERVING = ("numpy", "pydantic", "ruamel.yaml", "safetensors", "torch", "torchvision")  # what a logged model needs
# What a store may answer with; S3, where artifacts may lie, has errors of its own.
FAILURES = (
    MlflowException,
    SQLAlchemyError,
    OSError,
    ValueError,
    ImportError,
    Boto3Error,
    BotoCoreError,
    ClientError,
)


@dataclass(frozen=True)
class Identity:
    """What a run is about."""

    data: str  # name of the data set
    data_md5: str  # of its file
    model: str
    seed: int


@dataclass
class Store:
    """Where runs go, and what happens where that fails."""

    address: str
    choice: TrackingChoice
    client: MlflowClient = field(init=False)
    experiment: str = field(init=False)  # its id, in MLflow
    lost: bool = False  # from then on nothing is recorded

    def fail(self, error: BaseException) -> None:
        """End with a sentence where the store is required; else say so, and go on without it.

        Raises:
            UserError: it is required.
        """
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        trouble = f"MLflow's tracking store {self.address} can't be used ({reason})"
        self.lost = True
        if self.choice == "required":
            raise UserError(
                f"{trouble}: start it, or unset MLFLOW_TRACKING_URI to record runs in mlflow.db, or go on without it, "
                "as in `dvc exp run -S tracking=optional`"
            ) from None
        print(f"warning: {trouble}: going on without it; `make sync` records the results later", file=sys.stderr)


class _InStore(Protocol):
    @property
    def store(self) -> Store: ...


Owner = TypeVar("Owner", bound=_InStore)
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _in_store(
    method: Callable[Concatenate[Owner, Arguments], Answer],
) -> Callable[Concatenate[Owner, Arguments], Answer | None]:
    """Have a method do nothing where the store is lost, and a failure of the store end as its choice says."""

    @functools.wraps(method)
    def call(owner: Owner, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer | None:
        if owner.store.lost:
            return None
        try:
            return method(owner, *arguments, **named)
        except FAILURES as error:
            owner.store.fail(error)
            return None

    return call


@dataclass(frozen=True)
class Run:
    """One run in the store."""

    store: Store
    id: str

    @property
    def client(self) -> MlflowClient:
        """MLflow's own."""
        return self.store.client

    @_in_store
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add numbers of one step to the run, in one request."""
        now = get_current_time_millis()
        self.client.log_batch(self.id, [entities.Metric(name, value, now, step) for name, value in metrics.items()])

    @_in_store
    def log_curve(self, name: str, points: Iterable[tuple[int, float]]) -> None:
        """Add a curve, (step, value), to the run, in one request."""
        now = get_current_time_millis()
        self.client.log_batch(self.id, [entities.Metric(name, value, now, step) for step, value in points])

    @_in_store
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run, in one request."""
        self.client.log_batch(self.id, tags=[entities.RunTag(name, value) for name, value in tags.items()])

    @_in_store
    def log_path(self, path: Path, folder: str | None = None) -> None:
        """Add a file, or all that a folder holds, to the run's artifacts."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(self.id, str(path), folder)

    @_in_store
    def log_model(self, weights: Path, architecture: str, size: int) -> None:
        """Add the weights to the run's artifacts as a model that MLflow can load and serve, in the folder `model`.

        It holds the weights' file, this package, and no pickle; `shiftlab.serving` loads it. It takes raw images,
        uint8 `(N, size, size)`, and gives logits, float32 `(N, 10)`.
        """
        from mlflow import pyfunc  # seconds to import, for those alone who need it
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        images = TensorSpec(np.dtype(np.uint8), (-1, size, size))
        logits = TensorSpec(np.dtype(np.float32), (-1, 10))
        logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # or it tells that it looks at the example
        with tempfile.TemporaryDirectory() as folder:
            package = Path(__file__).parent
            pyfunc.save_model(
                f"{folder}/model",
                loader_module="shiftlab.serving",
                data_path=str(weights),
                code_paths=[str(package)],
                signature=ModelSignature(Schema([images]), Schema([logits])),
                input_example=np.zeros((2, size, size), np.uint8),
                pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in SERVING],
                model_config={"architecture": architecture, "size": size},
            )
            self.client.log_artifacts(self.id, folder)

    @_in_store
    def end(self, status: str, reason: str = "") -> None:
        """Mark the run as ended: FINISHED, FAILED or KILLED."""
        if reason:
            self.log_tags({"ended": reason[:1000]})
        self.client.set_terminated(self.id, status)

    @_in_store
    def found(self) -> entities.Run:
        """The run as the store has it."""
        one: entities.Run = self.client.get_run(self.id)
        return one


class Tracker:
    """A connection to the tracking store, and to the experiment there that collects runs on one data set."""

    def __init__(self, data: str, choice: TrackingChoice = "required") -> None:
        """Connect, and create what is missing. Figures on different data sets don't compare: each has its experiment.

        Args:
            choice: what happens where the store fails, now or later.

        Raises:
            UserError: the store is required, and can't be reached or used.
        """
        configured = os.environ.get("MLFLOW_TRACKING_URI")
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"shiftlab-{data}"
        artifacts = None if configured else (_root() / "mlartifacts" / experiment).as_uri()
        self.store = Store(configured or str(_root() / "mlflow.db"), choice)
        self._connect(experiment, artifacts, data)

    @_in_store
    def _connect(self, experiment: str, artifacts: str | None, data: str) -> None:
        with _alone():
            client = MlflowClient(address())
            found = client.get_experiment_by_name(experiment)
            about = {
                # Makes the UI take it for model training instead of generative AI.
                "mlflow.experimentKind": "custom_model_development",
                "mlflow.note.content": ABOUT.format(data),
                VIEW: json.dumps({"selectedColumns": COLUMNS}),
            }
            known = found.tags if found else {}
            self.store.experiment = found.experiment_id if found else client.create_experiment(experiment, artifacts)
            for name in about.keys() - known.keys():  # what a user has changed stays
                client.set_experiment_tag(self.store.experiment, name, about[name])
            self.store.client = client

    @contextlib.contextmanager
    def training(self, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Run]:
        """A new run, for as long as the block lasts.

        It ends as FINISHED, as KILLED where the user interrupted it, else as FAILED; the tag `ended` says why.
        """
        run = self._create(identity, params, {**_process(), **tags})
        with self._watching(run):
            try:
                yield run
            except BaseException as error:
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                run.end(status, f"{type(error).__name__}: {error}")
                raise
        run.end("FINISHED")

    @contextlib.contextmanager
    def _watching(self, run: Run) -> Iterator[None]:
        """Record what the machine does, every ten seconds."""
        if self.store.lost:
            yield
            return
        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # it says that it starts, and stops
        monitor = SystemMetricsMonitor(run.id, tracking_uri=self.store.client.tracking_uri)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    @_in_store
    def end_interrupted(self, key: str = "") -> None:
        """Mark as killed what the store takes for running, but whose process on this machine is gone.

        Args:
            key: of a training that is about to begin again, which so has ended, wherever it was.
        """
        for found in self._search("attributes.status = 'RUNNING'") or []:
            tags = found.data.tags
            if (key and tags.get("training.key") == key) or _gone(tags):
                Run(self.store, found.info.run_id).end(
                    "KILLED", "killed from outside; a later run goes on from its checkpoint"
                )

    def find(self, weights_md5: str, dvc_experiment: str = "") -> Run | None:
        """The latest run that trained these weights in a DVC experiment; in that of this process if none is named."""
        wanted = dvc_experiment or _dvc_experiment()
        for found in self._search(f"tags.`weights.md5` = '{weights_md5}'") or []:
            if found.data.tags.get("dvc.experiment") == wanted:  # a name may hold quotation marks
                return Run(self.store, found.info.run_id)
        return None

    def restore(self, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Run:
        """A new run, with the tag `restored`, for results that DVC took from its cache or that the store has lost."""
        run = self._create(identity, params, {**tags, "restored": "true"})
        run.end("FINISHED")
        return run

    def compared(self, data: str, tags: Mapping[str, str]) -> Run:
        """A new run for a comparison of models."""
        run = Run(self.store, self._create_run("comparison", {"data": data, **tags}) or "")
        run.end("FINISHED")
        return run

    def tags(self) -> list[dict[str, str]]:
        """The tags of every run of the experiment."""
        return [one.data.tags for one in self._search("") or []]

    @_in_store
    def register(self, run: Run, model: str, artifact: str, rank: float, tags: Mapping[str, str]) -> None:
        """Make an artifact folder of a run a version in the registry, once; the best ranked becomes the champion.

        The alias `champion` goes to the version of the highest rank, the earliest of equals, among those with the tag
        `data` that this one has. `champion-DATA` is the same under a name that other data sets leave alone.

        Args:
            tags: of the version; with `data`, and with `weights.md5`, by which a version is known.
        """
        name = f"shiftlab-{model}"
        with contextlib.suppress(MlflowException):  # there is one already
            self.store.client.create_registered_model(name)
        known = f"name = '{name}' and tags.`weights.md5` = '{tags['weights.md5']}'"
        if not self.store.client.search_model_versions(known):
            source = f"{self.store.client.get_run(run.id).info.artifact_uri}/{artifact}"
            self.store.client.create_model_version(
                name, source, run.id, tags={**tags, "rank": repr(rank)}, description=""
            )
        alike = self.store.client.search_model_versions(f"name = '{name}' and tags.data = '{tags['data']}'")
        best = max(alike, key=lambda one: (float(one.tags["rank"]), -int(one.version)))
        for alias in ("champion", f"champion-{tags['data']}"):
            self.store.client.set_registered_model_alias(name, alias, best.version)

    @_in_store
    def describe(self, run: Run, model: str, weights_md5: str, text: str) -> None:
        """Write what a model is and does, in Markdown, to its run and to its versions in the registry."""
        run.log_tags({"mlflow.note.content": text})
        known = f"name = 'shiftlab-{model}' and tags.`weights.md5` = '{weights_md5}'"
        for one in self.store.client.search_model_versions(known):
            self.store.client.update_model_version(one.name, one.version, text)

    @_in_store
    def _search(self, condition: str) -> list[entities.Run]:
        """The experiment's runs that meet a condition, the latest first."""
        found: list[entities.Run] = []
        token = None
        while True:
            page = self.store.client.search_runs(
                [self.store.experiment], condition, order_by=["attributes.start_time DESC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _create(self, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Run:
        run = Run(
            self.store,
            self._create_run(f"{identity.model} seed {identity.seed}", {"data.md5": identity.data_md5, **tags}) or "",
        )
        self._log_inputs(run, identity, params)
        return run

    @_in_store
    def _create_run(self, name: str, tags: Mapping[str, str]) -> str:
        everything = {**_provenance(), **tags}
        experiment = everything["dvc.experiment"]
        run: str = self.store.client.create_run(
            self.store.experiment,
            run_name=name if experiment == WORKSPACE else f"{name} {experiment}",
            tags={**everything, "sweep": _sweep(everything)},
        ).info.run_id
        return run

    @_in_store
    def _log_inputs(self, run: Run, identity: Identity, params: Mapping[str, object]) -> None:
        everything = {"data": identity.data, "model": identity.model, "seed": identity.seed, **params}
        self.store.client.log_batch(run.id, params=[entities.Param(key, str(one)) for key, one in everything.items()])
        dataset = entities.Dataset(
            identity.data,
            identity.data_md5,
            source_type="code",
            source=json.dumps({"tags": {"stage": "download"}}),
        )
        context = entities.InputTag("mlflow.data.context", "training")
        self.store.client.log_inputs(run.id, [entities.DatasetInput(dataset, [context])])


def champion(model: str) -> str:
    """The address, in the registry, of the best model of an architecture.

    Raises:
        UserError: there is none, or the store can't be reached or used.
    """
    name = f"shiftlab-{model}"
    store = Store(os.environ.get("MLFLOW_TRACKING_URI", str(_root() / "mlflow.db")), "required")
    try:
        with _alone():
            found = MlflowClient(address()).search_registered_models(f"name = '{name}'")
            if any("champion" in one.aliases for one in found):
                return f"models:/{name}@champion"
    except FAILURES as error:
        store.fail(error)
    raise UserError(
        f"no version of {name} has the alias champion in MLflow's registry: train one, as with `dvc exp run -S "
        f"model={model}`, or log what DVC has with `make sync`"
    )


def pages() -> dict[str, str]:
    """The experiments in the store by name, and the end of each one's address in MLflow's UI.

    Raises:
        UserError: the store can't be reached or used.
    """
    store = Store(os.environ.get("MLFLOW_TRACKING_URI", str(_root() / "mlflow.db")), "required")
    try:
        with _alone():
            found = MlflowClient(address()).search_experiments()
    except FAILURES as error:
        store.fail(error)
    # Without the first parameter the UI opens its view for generative AI, whatever the experiment's kind.
    view = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW.rpartition('.')[2]}"
    return {one.name: f"#/experiments/{one.experiment_id}/{view}" for one in found if VIEW in one.tags}


def _root() -> Path:
    """The repository's.

    DVC runs queued and temporary experiments in a copy that it deletes afterwards; DVC_ROOT names the original.
    """
    return Path(os.environ.get("DVC_ROOT", "")).resolve()


def address() -> str:
    """Where MLflow's store is: what the user has configured, or mlflow.db in the repository."""
    # Relative, since the folders above may have names that mean something in an address.
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.relpath(_root() / 'mlflow.db')}"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Connect to the store while no other process does, and with little patience.

    Processes that create SQLite's schema, or an experiment, at the same time crash: one does, the rest wait.
    """
    for chatty in ("alembic", "mlflow.store.db.utils"):  # they tell every step of the schema's creation
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = make_url(address()).database if address().startswith("sqlite:") else None
    with _impatient(), FileLock(f"{database}.lock") if database else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Have MLflow give up on a silent server after seconds; its own default is minutes."""
    hurried = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S)}
    before = {name: os.environ.get(name) for name in hurried}
    os.environ.update(hurried)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _dvc_experiment() -> str:
    """Name of the DVC experiment this process belongs to."""
    return os.environ.get("DVC_EXP_NAME", WORKSPACE)


def _sweep(tags: Mapping[str, str]) -> str:
    """What experiments that were started together share.

    DVC numbers those of a queue that was given a name, NAME-1, NAME-2; those without one share the commit.
    """
    name = re.sub(r"-\d+$", "", tags["dvc.experiment"])
    if name != tags["dvc.experiment"]:
        return name
    return f"from {tags.get('mlflow.source.git.commit', 'no commit')[:7]}"


def _process() -> dict[str, str]:
    """Tags that tell whether the process that a run belongs to still lives."""
    one = psutil.Process()
    return {"process.host": platform.node(), "process": f"{one.pid} {one.create_time()}"}


def _gone(tags: Mapping[str, str]) -> bool:
    if tags.get("process.host") != platform.node():
        return False
    number, begun = tags["process"].split()
    try:
        return bool(psutil.Process(int(number)).create_time() != float(begun))
    except psutil.NoSuchProcess:
        return True


def _provenance() -> dict[str, str]:
    """Tags that lead from a run back to the code that made it."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "dvc.yaml",
        "dvc.stage": os.environ.get("DVC_STAGE", "none"),
        "dvc.experiment": _dvc_experiment(),
    }
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git.dirty"] = str(bool(_git("status", "--porcelain", "--", *INPUTS))).lower()
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that no name belongs to; Python 3.13 has the latter
        return str(os.getuid())


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""  # no git, or no repository: the run is recorded without a commit
