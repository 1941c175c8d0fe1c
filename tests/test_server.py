"""The pipeline as a team runs it: MLflow on PostgreSQL with artifacts on S3, and DVC's remote on S3."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient, pyfunc

from tests.project import Project
from tests.servers import KEYS, free_port, running


def postgres_programs() -> Path | None:
    """The newest PostgreSQL's; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


PROGRAMS = postgres_programs()


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of an empty database."""
    if PROGRAMS is None:
        pytest.skip("needs PostgreSQL's server, as from Debian's package postgresql")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        port = free_port()

        def run(*command: str) -> None:
            subprocess.run(
                [str(PROGRAMS / command[0]), *command[1:]], cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL
            )

        run("initdb", "--pgdata", "data", "--username", "shiftlab", "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "--pgdata", "data", "--log", "log", "--options", options, "--wait")
        try:
            yield f"postgresql://shiftlab@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--pgdata", "data", "--mode", "immediate")


@pytest.mark.slow
def test_pipeline_runs_against_servers_and_a_clone_has_nothing_to_run(
    project: Project, postgres: str, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.compose("data=digits", "model=mlp")
    nothing = tmp_path / "nothing"
    nothing.touch()
    without_keys = {"AWS_CONFIG_FILE": str(nothing), "AWS_SHARED_CREDENTIALS_FILE": str(nothing)}
    project.environment |= {**without_keys, "AWS_EC2_METADATA_DISABLED": "true", "no_proxy": "*"}
    server = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres]
    command += ["--artifacts-destination", "s3://mlflow", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", server.rpartition(":")[2]]
    with running(command, tmp_path, {**project.environment, **KEYS, "MLFLOW_S3_ENDPOINT_URL": s3}, f"{server}/health"):
        project.environment["MLFLOW_TRACKING_URI"] = server
        project.dvc("repro")
        assert not (project.root / "mlflow.db").exists()
        project.dvc("remote", "add", "--default", "storage", "s3://dvc/cache")
        project.dvc("remote", "modify", "storage", "endpointurl", s3)
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", "results, and where they are kept")

        refused = project.dvc("push", check=False)
        assert "credentials" in refused
        assert "Traceback" not in refused
        project.environment |= KEYS
        assert "pushed" in project.dvc("push")
        project.git("clone", "--quiet", ".", str(tmp_path / "clone"))
        clone = Project(tmp_path / "clone")
        clone.environment |= project.environment
        clone.dvc("pull")
        assert "Data and pipelines are up to date" in clone.dvc("repro")
        assert "MLflow has 2 results, 0 of them new" in clone.run(sys.executable, "scripts/sync.py").stdout

        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        monkeypatch.setenv("no_proxy", "*")
        client = MlflowClient(server)
        version = client.get_model_version_by_alias("shiftlab-mlp", "champion")
        assert version.run_id
        run = client.get_run(version.run_id)
        assert "zero/right5" in run.data.metrics
        assert {file.path for file in client.list_artifacts(version.run_id)} == {"evaluation", "model"}
        loaded = pyfunc.load_model("models:/shiftlab-mlp@champion")
        assert np.shape(loaded.predict(np.zeros((3, 28, 28), np.float32))) == (3, 10)
