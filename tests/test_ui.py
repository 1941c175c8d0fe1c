import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
import ui

from shiftlab.errors import UserError
from tests.helpers import ROOT, SRC, isolated_environment, run_python

SCRIPT = ROOT / "scripts/ui.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        ui.refuse_taken(70_000)


def test_runs_on_a_server_are_seen_there(tmp_path: Path) -> None:
    done = run_python(SCRIPT, cwd=tmp_path, MLFLOW_TRACKING_URI="https://runs.example.org")
    assert done.returncode == 1
    assert "https://runs.example.org" in done.stderr
    assert "Traceback" not in done.stderr


def test_pages_are_served_on_this_machine_alone(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--port", str(port)],
        cwd=tmp_path,
        env={**isolated_environment(), "PYTHONPATH": str(SRC)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert b"MLflow" in page(process, f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def page(process: "subprocess.Popen[bytes]", address: str) -> bytes:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return bytes(answer.read())
        except (URLError, ConnectionError):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)
