"""The pipeline as a team runs it: MLflow on PostgreSQL with artifacts on S3, and DVC's remote on S3."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
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


# Made anew, since this file is among those that are looked through.
SECRETS = {name: uuid.uuid4().hex for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")}


@pytest.mark.slow
def test_login_lets_in_who_has_one_and_secrets_are_found_nowhere(project: Project, s3: str, tmp_path: Path) -> None:
    project.compose("data=digits", "model=mlp")
    server_files = tmp_path / "server"
    server_files.mkdir()
    settings = server_files / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{server_files}/auth.db\n"
        f"admin_username = admin\nadmin_password = {SECRETS['MLFLOW_TRACKING_PASSWORD']}\n"
    )
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{server_files}/mlflow.db", "--host", "127.0.0.1"]
    command += ["--artifacts-destination", str(server_files / "artifacts"), "--port", address.rpartition(":")[2]]
    of_server = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{project.environment['PATH']}"
    with running(command, tmp_path, {**project.environment, **of_server, "PATH": path}, f"{address}/health"):
        project.environment |= {"MLFLOW_TRACKING_URI": address, "no_proxy": "*"}
        refused = project.dvc("repro", "train", check=False)
        assert f"MLflow's tracking store {address} can't be used" in refused
        assert "Traceback" not in refused
        project.environment |= {"MLFLOW_TRACKING_USERNAME": "admin", **KEYS, **SECRETS}
        said = project.dvc("repro")
        said += project.run(sys.executable, "scripts/sync.py").stdout
        project.dvc("remote", "add", "--default", "storage", "s3://dvc/cache")
        project.dvc("remote", "modify", "storage", "endpointurl", s3)
        said += project.dvc("push")
        client = MlflowClient(address.replace("//", f"//admin:{SECRETS['MLFLOW_TRACKING_PASSWORD']}@"))
        assert client.get_experiment_by_name("shiftlab-digits")
        # With the password in the address, which then is wrong.
        wrong = address.replace("//", f"//nobody:{SECRETS['MLFLOW_TRACKING_PASSWORD']}@")
        said += project.run(
            sys.executable, "src/train.py", "mlp", "0", check=False, environment={"MLFLOW_TRACKING_URI": wrong}
        ).stdout
    settings.unlink()
    assert "MLflow has 2 results, 0 of them new" in said
    for secret in SECRETS.values():
        assert secret not in said
        holding = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert holding == []
