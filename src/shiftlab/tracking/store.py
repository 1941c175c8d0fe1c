"""MLflow's store: where it is, the connection to it, and what happens where it fails."""

import contextlib
import functools
import json
import logging
import os
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # as .dvc/config does DVC's; MLflow reads it on import

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from shiftlab.config.params import TrackingChoice
from shiftlab.errors import UserError, without_password
from shiftlab.repository import root

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where databases listen unless told otherwise
PATIENCE_S = 5  # with a tracking server that does not answer, at the start of a stage
NOTE = "mlflow.note.content"  # the tag that MLflow shows as a description, Markdown
# The columns of an experiment's page are a view that somebody shares, as MLflow keeps it; an address can name it.
VIEW = "mlflow.sharedViewState.shiftlab"


@dataclass(frozen=True)
class Kind:
    """An experiment: what its runs are of, and which of their columns its page shows first."""

    suffix: str  # of its name
    about: str  # with the data's name left out
    metrics: tuple[str, ...]
    columns: tuple[str, ...]  # besides the metrics


TRAININGS = Kind(
    "",
    "Models trained and evaluated on {}: a run for each, and one for each comparison, which holds the report. Group "
    "the runs by the tag `sweep` to see those of one sweep together. Metrics named `zero/...` and `circular/...` are "
    "of the test images, shifted in that boundary.",
    ("validation/best accuracy", "zero/clean", "zero/right5", "zero/consistency"),
    ("params.`model`", "params.`lr`", "params.`epochs`", "tags.`sweep`"),
)
# Apart, since a study's runs are a hundred and more.
STUDY = Kind(
    "-study",
    "Where invariance comes from, on {}: a run for each study, which holds its page and verdicts, and below it one for "
    "every variant and seed. Select those and compare them: parallel coordinates sort them by their components.",
    ("zero/clean", "zero/right5", "zero/random5", "circular/consistency"),
    ("params.`downsampling`", "params.`padding`", "params.`head`", "params.`augmentation`"),
)
# What a store may answer with; S3, where artifacts may lie, has errors of its own.
FAILURES = (MlflowException, SQLAlchemyError, OSError, ValueError, ImportError, Boto3Error, BotoCoreError, ClientError)


@dataclass
class Store:
    """Where runs go, and what happens where that fails."""

    address: str
    choice: TrackingChoice
    client: MlflowClient = field(init=False)
    experiment: str = field(init=False)  # its id, in MLflow
    lost: bool = False  # from then on nothing is recorded

    @property
    def store(self) -> "Store":
        """Itself, so that functions of a store and of what lies in it fail alike."""
        return self

    def fail(self, error: BaseException) -> None:
        """End with a sentence where the store is required; else say so, and go on without it.

        Raises:
            UserError: it is required.
        """
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shown = without_password(self.address)
        trouble = f"MLflow's tracking store {shown} can't be used ({reason.replace(self.address, shown)})"
        self.lost = True
        if self.choice == "required":
            remedy = "delete the file, after which `make sync` records again what Git and DVC hold"
            if "MLFLOW_TRACKING_URI" in os.environ:
                remedy = "start it, or unset MLFLOW_TRACKING_URI to record runs in mlflow.db"
            raise UserError(
                f"{trouble}: {remedy}, or go on without it, as in `dvc exp run -S tracking=optional`"
            ) from None
        print(f"warning: {trouble}: going on without it; `make sync` records the results later", file=sys.stderr)


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def best_effort(
    function: Callable[Concatenate[Any, Arguments], Answer],
) -> Callable[Concatenate[Any, Arguments], Answer | None]:
    """Have a function of a store, or of what lies in one, end as the store's choice says where the store fails.

    It does nothing where the store is lost.
    """

    @functools.wraps(function)
    def call(owner: Any, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer | None:
        if owner.store.lost:
            return None
        try:
            return function(owner, *arguments, **named)
        except FAILURES as error:
            owner.store.fail(error)
            return None

    return call


def connect(data: str, choice: TrackingChoice = "required", kind: Kind = TRAININGS) -> Store:
    """Return the store, with the experiment that collects a kind of runs on one data set, created where it is missing.

    Metrics on different data sets don't compare: each has its experiment.

    Args:
        choice: what happens where the store fails, now or later.

    Raises:
        UserError: the store is required, and can't be reached or used.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    store = Store(uri or str(root() / "mlflow.db"), choice)
    experiment = (os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"shiftlab-{data}") + kind.suffix
    tags = {
        "mlflow.experimentKind": "custom_model_development",  # or the UI takes it for generative AI
        NOTE: kind.about.format(data),
        VIEW: json.dumps({"selectedColumns": [*(f"metrics.`{name}`" for name in kind.metrics), *kind.columns]}),
    }
    _open(store, experiment, None if uri else (root() / "mlartifacts" / experiment).as_uri(), tags)
    return store


@best_effort
def _open(store: Store, name: str, artifacts: str | None, tags: Mapping[str, str]) -> None:
    with exclusive():
        client = MlflowClient(address())
        experiment = client.get_experiment_by_name(name)
        store.experiment = experiment.experiment_id if experiment else client.create_experiment(name, artifacts)
        for key in tags.keys() - (experiment.tags.keys() if experiment else set()):  # what a user has changed stays
            client.set_experiment_tag(store.experiment, key, tags[key])
        store.client = client


def pages() -> dict[str, str]:
    """Return the end of each experiment's address in MLflow's UI, by the experiment's name.

    Raises:
        UserError: the store can't be reached or used.
    """
    with required() as client:
        experiments = client.search_experiments()
    # Without the first parameter the UI opens its view for generative AI, whatever the experiment's kind.
    view = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW.rpartition('.')[2]}"
    shown = [experiment for experiment in experiments if VIEW in experiment.tags]
    return {experiment.name: f"#/experiments/{experiment.experiment_id}/{view}" for experiment in shown}


@contextlib.contextmanager
def required() -> Iterator[MlflowClient]:
    """Have a client of the store, for questions that no experiment is needed for.

    Raises:
        UserError: the store can't be reached or used.
    """
    try:
        with exclusive():
            yield MlflowClient(address())
    except FAILURES as error:
        Store(os.environ.get("MLFLOW_TRACKING_URI", str(root() / "mlflow.db")), "required").fail(error)


def address() -> str:
    """Return MLflow's tracking URI: what the user has configured, or mlflow.db in the repository."""
    # Relative, since the folders above may have names that mean something in an address.
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.relpath(root() / 'mlflow.db')}"


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Connect to the store while no other process does, and with little patience.

    Processes that create SQLite's schema, or an experiment, at the same time crash: one does, the rest wait. A server
    that is silent is given up after seconds; MLflow's own default is minutes.
    """
    for chatty in ("alembic", "mlflow.store.db.utils"):  # they tell every step of the schema's creation
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = make_url(address()).database if address().startswith("sqlite:") else None
    _refuse_silent_database(address())
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S)}
    with environment(impatient), FileLock(f"{database}.lock") if database else contextlib.nullcontext():
        if database and not Path(database).exists():
            _create(Path(database))
        yield


def _create(database: Path) -> None:
    """Make MLflow's schema in another file, and give it its name when it is whole.

    It takes seconds, and one that was interrupted in the midst of it can neither be used nor gone on with.
    """
    with tempfile.TemporaryDirectory(dir=database.parent or None) as folder:
        made, copied = Path(folder, "made.db"), Path(folder, "copied.db")
        MlflowClient(f"sqlite:///{os.path.relpath(made)}").search_experiments()
        with contextlib.closing(sqlite3.connect(made)) as connection:  # MLflow's own stays open
            connection.execute("VACUUM INTO ?", (str(copied),))
        copied.replace(database)


def _refuse_silent_database(uri: str) -> None:
    """Find out whether anybody listens where a database is said to be: MLflow itself goes on asking for two minutes.

    Raises:
        OSError: nobody does.
        SQLAlchemyError: it is no address.
    """
    if "://" in uri and not uri.startswith(("sqlite:", "http:", "https:", "file:")):
        database = make_url(uri)
        port = database.port or PORTS.get(database.get_backend_name())
        if database.host and port:
            socket.create_connection((database.host, port), timeout=PATIENCE_S).close()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, which MLflow reads at every call, for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
