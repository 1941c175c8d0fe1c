"""MLflow's store: its address, the connection to it, and what happens where it fails."""

import contextlib
import json
import logging
import os
import re
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # as .dvc/config does DVC's; MLflow reads it on import

import yaml
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from shiftlab.config.params import TrackingChoice
from shiftlab.environment import environment
from shiftlab.errors import UserError, without_password
from shiftlab.repository import root

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where databases listen unless told otherwise
PATIENCE_S = 5  # with a tracking server that does not answer, at the start of a stage
DESCRIPTION = "mlflow.note.content"  # the tag that MLflow shows as a description, Markdown
# The columns of an experiment's page are a view that somebody shares, as MLflow keeps it; an address can name it.
VIEW = "mlflow.sharedViewState.shiftlab"
# What a store may answer with; S3, where artifacts may lie, has errors of its own.
FAILURES = (MlflowException, SQLAlchemyError, OSError, ValueError, ImportError, Boto3Error, BotoCoreError, ClientError)

Kind = Literal["trainings", "study"]  # of an experiment in MLflow


class LostError(Exception):
    """The store has failed before."""


class DeletedError(ValueError):
    """Somebody has deleted an experiment of MLflow's, which keeps its name and takes no more runs."""

    def __init__(self, name: str, identifier: str) -> None:
        super().__init__(f"the experiment {name} was deleted")
        self.remedy = f"bring it back with `.venv/bin/mlflow experiments restore --experiment-id {identifier}`"


@dataclass
class Store:
    """Where runs are recorded."""

    choice: TrackingChoice
    connection: MlflowClient = field(init=False)
    experiment: str = ""  # its id, in MLflow
    lost: bool = False  # it has failed: from then on nothing is recorded

    @property
    def client(self) -> MlflowClient:
        """MLflow's client of the store.

        Raises:
            LostError: the store has failed before.
        """
        if self.lost:
            raise LostError
        return self.connection

    @contextlib.contextmanager
    def best_effort(self) -> Iterator[None]:
        """Call `fail` where the block fails for the store's sake; leave the block where the store is lost."""
        try:
            yield
        except LostError:
            pass
        except FAILURES as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End with a sentence where the store is required; else print it, and go on without the store.

        Raises:
            UserError: it is required.
        """
        location = os.environ.get("MLFLOW_TRACKING_URI") or str(root() / "mlflow.db")
        shown = without_password(location)
        reason = first_line(error).replace(location, shown)
        trouble = f"MLflow's tracking store {shown} can't be used ({reason})"
        self.lost = True
        if self.choice == "required":
            remedy = "delete the file, after which `make sync` records again what Git and DVC hold"
            if isinstance(error, DeletedError):
                remedy = error.remedy
            elif "MLFLOW_TRACKING_URI" in os.environ:
                remedy = "start it, or unset MLFLOW_TRACKING_URI to record runs in mlflow.db"
            raise UserError(
                f"{trouble}: {remedy}, or go on without it, as in `dvc exp run -S tracking=optional`"
            ) from None
        print(f"warning: {trouble}: going on without it; `make sync` records the results later", file=sys.stderr)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def connect(data: str, choice: TrackingChoice = "required", kind: Kind = "trainings") -> Store:
    """Return the store, with the experiment of a data set's runs, created where it is missing.

    Metrics on different data sets don't compare: each has its experiment.

    Args:
        choice: what happens where the store fails, now or later.

    Raises:
        UserError: the store is required, and can't be reached or used.
    """
    store = Store(choice)
    settings = yaml.safe_load(Path(__file__).with_name("experiments.yaml").read_text(encoding="utf-8"))[kind]
    name = (os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"shiftlab-{data}") + settings["suffix"]
    # A server knows where its artifacts lie; beside a database MLflow's own choice is below the working directory.
    artifacts = (root() / "mlartifacts" / name).as_uri() if _database(address()) else None
    tags = {
        "mlflow.experimentKind": "custom_model_development",  # or the UI takes it for generative AI
        DESCRIPTION: settings["description"].format(data),
        VIEW: json.dumps({"selectedColumns": settings["columns"]}),
    }
    with store.best_effort(), exclusive():
        store.connection = client = MlflowClient(address())
        experiment = client.get_experiment_by_name(name)
        if experiment and experiment.lifecycle_stage == LifecycleStage.DELETED:
            raise DeletedError(name, experiment.experiment_id)
        store.experiment = experiment.experiment_id if experiment else client.create_experiment(name, artifacts)
        for key in tags.keys() - (experiment.tags.keys() if experiment else set()):  # what a user has changed stays
            client.set_experiment_tag(store.experiment, key, tags[key])
    return store


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
    """Yield a client of the store, for questions that no experiment is needed for.

    Raises:
        UserError: the store can't be reached or used.
    """
    with Store("required").best_effort(), exclusive():
        yield MlflowClient(address())


def address() -> str:
    """Return MLflow's tracking URI: what the user has configured, or mlflow.db; relative files are the repository's."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    url = _database(uri)
    if url is None or url.get_backend_name() != "sqlite" or Path(url.database or "/").is_absolute():
        return uri
    # Relative, since the folders above may have names that mean something in an address.
    return url.set(database=os.path.relpath(root() / str(url.database))).render_as_string(hide_password=False)


def _database(uri: str) -> URL | None:
    """Return a database's address as SQLAlchemy reads it; None where the address is a server's, or no address."""
    return make_url(uri) if re.split("[:+]", uri)[0] in DATABASE_ENGINES else None


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Keep other processes from connecting to the store meanwhile, and wait seconds alone for a server.

    Processes that create SQLite's schema, or an experiment, at the same time crash: one does, the rest wait. MLflow's
    own patience with a silent server is minutes.
    """
    for logger in ("alembic", "mlflow.store.db.utils"):  # they tell every step of the schema's creation
        logging.getLogger(logger).setLevel(logging.WARNING)
    url = _database(address())
    database = url.database if url and url.get_backend_name() == "sqlite" else None
    if url and url.host and (port := url.port or PORTS.get(url.get_backend_name())):
        # MLflow itself goes on asking for two minutes where no server listens.
        socket.create_connection((url.host, port), timeout=PATIENCE_S).close()
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S)}
    with environment(impatient), FileLock(f"{database}.lock") if database else contextlib.nullcontext():
        if database and not Path(database).exists():
            _create_database(Path(database))
        yield


def _create_database(database: Path) -> None:
    """Create MLflow's schema in another file, and rename that when it is whole.

    It takes seconds, and one that was interrupted in the midst of it can neither be used nor gone on with.
    """
    with tempfile.TemporaryDirectory(dir=database.parent or None) as folder:
        original, copy = Path(folder, "original.db"), Path(folder, "copy.db")
        MlflowClient(f"sqlite:///{os.path.relpath(original)}").search_experiments()
        with contextlib.closing(sqlite3.connect(original)) as connection:  # MLflow's own stays open
            connection.execute("VACUUM INTO ?", (str(copy),))
        copy.replace(database)
