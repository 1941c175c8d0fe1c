"""Every MLflow call, and the only importer of mlflow.

A run is one model's training, to which its evaluation adds its results. Evaluation finds it by the digest of the
weights and the name of the DVC experiment: a run id in a DVC output would make that output differ every time.
"""

import contextlib
import getpass
import json
import logging
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # as .dvc/config does DVC's; MLflow reads it on import

from filelock import FileLock
from mlflow import MlflowClient, entities
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from shiftlab.errors import UserError

PATIENCE_S = 5  # with a tracking server that does not answer, at the start of a stage
# What makes a result; the outputs that git keeps change while the pipeline runs.
INPUTS = ["src", "conf", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock"]


@dataclass(frozen=True)
class Identity:
    """What a run is about."""

    data: str  # name of the data set
    data_sha256: str  # of its file
    model: str
    seed: int


@dataclass(frozen=True)
class Run:
    """One run in the store."""

    client: MlflowClient
    id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add numbers of one step to the run, in one request."""
        now = get_current_time_millis()
        self.client.log_batch(self.id, [entities.Metric(name, value, now, step) for name, value in metrics.items()])

    def log_curve(self, name: str, points: Iterable[tuple[int, float]]) -> None:
        """Add a curve, (step, value), to the run, in one request."""
        now = get_current_time_millis()
        self.client.log_batch(self.id, [entities.Metric(name, value, now, step) for step, value in points])

    def log_tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self.client.set_tag(self.id, name, value)

    def log_path(self, path: Path, folder: str | None = None) -> None:
        """Add a file, or all that a folder holds, to the run's artifacts."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(self.id, str(path), folder)


class Tracker:
    """A connection to the tracking store, and to the experiment there that collects runs on one data set."""

    def __init__(self, data: str) -> None:
        """Connect, and create what is missing. Figures on different data sets don't compare: each has its experiment.

        Raises:
            UserError: the store can't be reached or used.
        """
        configured = os.environ.get("MLFLOW_TRACKING_URI")
        # DVC runs queued and temporary experiments in a copy of the repository that it deletes afterwards;
        # DVC_ROOT names the original.
        root = Path(os.environ.get("DVC_ROOT", "")).resolve()
        # Relative, since the folders above may have names that mean something in an address.
        uri = configured or f"sqlite:///{os.path.relpath(root / 'mlflow.db')}"
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"shiftlab-{data}"
        artifacts = None if configured else (root / "mlartifacts" / experiment).as_uri()
        logging.getLogger("alembic").setLevel(logging.WARNING)  # or it tells every step of the schema's creation
        # Processes that create SQLite's schema, or the experiment, at the same time crash: one does, the rest wait.
        try:
            database = make_url(uri).database if uri.startswith("sqlite:") else None
            with _impatient(), FileLock(f"{database}.lock") if database else contextlib.nullcontext():
                self._client = MlflowClient(uri)
                found = self._client.get_experiment_by_name(experiment)
                self._experiment_id = (
                    found.experiment_id
                    if found
                    # The kind makes the UI open the view for model training instead of that for generative AI.
                    else self._client.create_experiment(
                        experiment, artifacts, {"mlflow.experimentKind": "custom_model_development"}
                    )
                )
        except (MlflowException, SQLAlchemyError, OSError, ValueError, ImportError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            store = configured or root / "mlflow.db"
            raise UserError(
                f"MLflow's tracking store {store} can't be used ({reason}): start it, or unset MLFLOW_TRACKING_URI "
                "to record runs in mlflow.db"
            ) from None

    @contextlib.contextmanager
    def training(self, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Run]:
        """A new run, for as long as the block lasts.

        It ends as FINISHED, as KILLED where the user interrupted it, else as FAILED; the tag `ended` says why.
        """
        run = self._create(identity, params, tags)
        try:
            yield run
        except BaseException as error:
            run.log_tag("ended", f"{type(error).__name__}: {error}"[:1000])
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            self._client.set_terminated(run.id, status)
            raise
        self._client.set_terminated(run.id, "FINISHED")

    def end_interrupted(self, tag: str, value: str) -> None:
        """Mark runs with this tag as killed that the store still takes for running."""
        for found in self._search(f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"):
            run = Run(self._client, found.info.run_id)
            run.log_tag("ended", "killed from outside; a later run goes on from its checkpoint")
            self._client.set_terminated(run.id, "KILLED")

    def trained(self, identity: Identity, params: Mapping[str, object], weights_sha256: str) -> Run:
        """The latest run that trained these weights in this DVC experiment, to add an evaluation to.

        Where there is none (DVC took the weights from its cache, or the store is a new one) it is made, with the
        tag `restored`.
        """
        known = {"weights.sha256": weights_sha256, "dvc.experiment": _dvc_experiment()}
        for found in self._search(f"tags.`weights.sha256` = '{weights_sha256}'"):
            if found.data.tags.get("dvc.experiment") == known["dvc.experiment"]:  # a name may hold quotation marks
                return Run(self._client, found.info.run_id)
        run = self._create(identity, params, {**known, "restored": "true"})
        self._client.set_terminated(run.id, "FINISHED")
        return run

    def log_comparison(self, data: str, paths: Iterable[Path]) -> None:
        """A run that holds a comparison of models: the files and folders at `paths`."""
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"comparison {os.environ.get('DVC_EXP_NAME', '')}".rstrip(),
            tags={"data": data, **_provenance()},
        )
        logged = Run(self._client, run.info.run_id)
        for path in paths:
            logged.log_path(path, path.name if path.is_dir() else None)
        self._client.set_terminated(logged.id, "FINISHED")

    def _search(self, condition: str) -> list[entities.Run]:
        """The experiment's runs that meet a condition, the latest first."""
        return self._client.search_runs([self._experiment_id], condition, order_by=["attributes.start_time DESC"])

    def _create(self, identity: Identity, params: Mapping[str, object], tags: Mapping[str, str]) -> Run:
        experiment = os.environ.get("DVC_EXP_NAME", "")
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"{identity.model} seed {identity.seed} {experiment}".rstrip(),
            tags={"data.sha256": identity.data_sha256, **_provenance(), **tags},
        ).info.run_id
        everything = {"data": identity.data, "model": identity.model, "seed": identity.seed, **params}
        self._client.log_batch(run, params=[entities.Param(key, str(value)) for key, value in everything.items()])
        dataset = entities.Dataset(
            identity.data,
            identity.data_sha256[:16],  # MLflow takes 36 characters at most
            source_type="code",
            source=json.dumps({"tags": {"stage": "download"}}),
        )
        context = entities.InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run, [entities.DatasetInput(dataset, [context])])
        return Run(self._client, run)


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
    """Name of the DVC experiment this process belongs to; `workspace` for a plain `dvc repro`."""
    return os.environ.get("DVC_EXP_NAME", "workspace")


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
