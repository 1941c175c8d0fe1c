import socket
import sys
import urllib.request
from pathlib import Path

import pytest
import ui

from shiftlab.errors import UserError
from tests.helpers import ROOT, SRC, isolated_environment, run_python
from tests.servers import free_port, running

SCRIPT = ROOT / "scripts/ui.py"


def test_taken_port_ends_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_python(SCRIPT, "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port}" in done.stderr
    assert "make ui PORT=" in done.stderr


def test_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(UserError, match="port 70000"):
        ui.refuse_taken(70_000, "make ui")


def test_runs_on_a_server_are_seen_there(tmp_path: Path) -> None:
    done = run_python(SCRIPT, cwd=tmp_path, MLFLOW_TRACKING_URI="https://runs.example.org")
    assert done.returncode == 1
    assert "https://runs.example.org" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_pages_are_served_on_this_machine_alone(tmp_path: Path) -> None:
    port = free_port()
    environment = {**isolated_environment(), "PYTHONPATH": str(SRC)}
    command = [sys.executable, str(SCRIPT), "--port", str(port)]
    with running(command, tmp_path, environment, f"http://127.0.0.1:{port}"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10) as answer:
            assert b"MLflow" in answer.read()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass
