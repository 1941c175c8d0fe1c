"""Stores and servers: addresses, proxies, limits, and what somebody has deleted."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from shiftlab.audits.adapters import ModelOptions, http
from shiftlab.errors import UserError
from shiftlab.tracking import registry, runs, store
from shiftlab.tracking.runs import Identity
from tests.helpers import DIGITS, GREY, ROOT, SRC, isolated_environment, run_python
from tests.servers import free_port, running

MLP = Identity("digits", "0" * 32, "mlp", 0, GREY, DIGITS)


@pytest.mark.usefixtures("as_a_stage")
@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_mlflow_tracking_uri_of_sqlite_in_a_copy_that_is_deleted(
    kind: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `dvc exp run --temp`: DVC_ROOT is the repository, the working directory a copy."""
    name = f"own-{kind}.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{name if kind == 'relative' else root / name}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", kind)
    (tmp_path / "weights").write_text("weights")
    with runs.training(store.connect("digits"), MLP, {}, {}) as run:
        run.log_path(tmp_path / "weights", "model")
    assert (root / name).is_file()
    stored = run.client.get_run(run.id)
    assert stored.info.artifact_uri.startswith((root / "mlartifacts" / kind).as_uri())
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]  # nothing is lost with the copy


@pytest.mark.usefixtures("as_a_stage")
def test_make_sync_after_a_runs_artifacts_were_deleted(root: Path, tmp_path: Path) -> None:
    """What `make sync` looks at: the run does not count as stored, and its version gives way to one that has files."""
    (tmp_path / "weights").write_text("weights")
    tags = {"data": "digits", "weights.md5": "same"}
    connected = store.connect("digits")
    trained = []
    for _ in range(2):
        with runs.training(connected, MLP, {}, {"weights.md5": "same"}) as run:
            run.log_path(tmp_path / "weights", "model")
        registry.register(run, "mlp", "model", 0.9, tags)
        trained.append(run)
    first, _ = trained
    champion = connected.client.get_model_version_by_alias("shiftlab-mlp", "champion")
    assert champion.run_id == first.id  # the same weights are one version
    assert ("weights.md5", "same") in runs.results(connected)

    for run in trained:
        shutil.rmtree(root / "mlartifacts/shiftlab-digits" / run.id)
    assert ("weights.md5", "same") not in runs.results(connected)
    assert runs.find(connected, "same") is None
    with runs.training(connected, MLP, {}, {"weights.md5": "same"}) as run:
        run.log_path(tmp_path / "weights", "model")
    registry.register(run, "mlp", "model", 0.9, tags)
    assert connected.client.get_model_version_by_alias("shiftlab-mlp", "champion").run_id == run.id


@pytest.mark.usefixtures("as_a_stage")
def test_make_sync_after_the_experiment_was_deleted_in_mlflows_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "deleted")
    connected = store.connect("digits")
    connected.client.delete_experiment(connected.experiment)
    command = f"`.venv/bin/mlflow experiments restore --experiment-id {connected.experiment}`"
    with pytest.raises(UserError, match=re.escape(command)) as raised:
        store.connect("digits")
    assert "the experiment deleted was deleted" in str(raised.value)
    connected.client.restore_experiment(connected.experiment)  # what that command does
    assert store.connect("digits").experiment == connected.experiment


class Limited(BaseHTTPRequestHandler):
    """A model behind a server that takes bodies of so many bytes; its answer is each image's sum."""

    limit = 4000
    statuses: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200 if len(body) <= self.limit else 413
        self.statuses.append(status)
        self.send_response(status)
        self.end_headers()
        if status == 200:
            sums = torch.tensor(json.loads(body)["inputs"]).flatten(1).sum(1, keepdim=True)
            self.wfile.write(json.dumps({"predictions": sums.tolist()}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def limited() -> Iterator[str]:
    Limited.statuses = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Limited)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_shiftlab_audit_of_a_server_that_limits_bodies(limited: str) -> None:
    images = torch.arange(12 * 64, dtype=torch.float32).reshape(12, 1, 8, 8)
    model = http.load(limited, ModelOptions())
    expected = images.flatten(1).sum(1, keepdim=True).tolist()
    assert model.outputs(images) == expected
    assert 413 in Limited.statuses
    before = len(Limited.statuses)
    assert model.outputs(images) == expected
    assert 413 not in Limited.statuses[before:]  # it knows by now
    with pytest.raises(UserError, match="status 413"):  # one image is too much
        model.outputs(torch.zeros(1, 1, 50, 50))


PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy"), "http://127.0.0.1:9")  # where nobody listens
SOCKS = {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"}
ASK = (
    "import sys, torch; from shiftlab.audits.adapters import ModelOptions, http\n"
    "print(http.load(sys.argv[1], ModelOptions()).outputs(torch.ones(1, 1, 2, 2)))\n"
    "import requests; print(requests.post(sys.argv[1], json={'inputs': [[[1, 1]]]}).status_code)"
)


@pytest.mark.parametrize("excepted", [None, "*", "example.org"])
def test_shiftlab_audit_of_a_server_on_loopback_with_http_proxy_set(
    excepted: str | None, limited: str, tmp_path: Path
) -> None:
    environment = {**PROXIES, **SOCKS, **({"NO_PROXY": excepted} if excepted else {})}
    process = run_python("-c", ASK, limited, cwd=tmp_path, package=SRC, **environment)
    assert process.stdout == "[[4.0]]\n200\n", process.stderr


def test_other_hosts_are_asked_through_the_proxy_still(tmp_path: Path) -> None:
    code = "import urllib.request, shiftlab; print([urllib.request.proxy_bypass(host) for host in {}])"
    hosts = ["127.0.0.1", "localhost", "mlflow.example.org", "example.com"]
    process = run_python("-c", code.format(hosts), cwd=tmp_path, package=SRC, **PROXIES, no_proxy="example.com")
    assert process.stdout.replace("1", "True").replace("0", "False") == "[True, True, False, True]\n"


@pytest.mark.slow
def test_make_ui_and_shiftlab_play_with_http_proxy_and_all_proxy_set(tmp_path: Path) -> None:
    environment = {**isolated_environment(), **PROXIES, **SOCKS, "PYTHONPATH": str(SRC)}
    port = free_port()
    lines = []
    command = [sys.executable, str(ROOT / "scripts/ui.py"), "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if "are ready at" in line:
                break
        process.terminate()
    assert "are ready at" in lines[-1]

    (tmp_path / "model.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    port = free_port()
    command = [sys.executable, "-c", "from shiftlab.cli import main; main()", "play", "model.py:build", "--no-browser"]
    command += ["--crop", "8", "--channels", "grey", "--mean", "0", "--std", "1", "--port", str(port)]
    with running(command, tmp_path, environment, f"http://127.0.0.1:{port}"):
        pass


class Proxy(BaseHTTPRequestHandler):
    """A reverse proxy as docs/servers.md has one: requests go on with the host that the user typed."""

    to: int  # port

    def do_GET(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.to, timeout=600)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


PROXY = "from tests.reports.test_stores_and_servers import *; Proxy.to = {}; serve(Proxy, {})"


def serve(handler: type[BaseHTTPRequestHandler], port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()


@pytest.mark.slow
def test_mlflow_server_of_docs_servers_behind_its_proxy(tmp_path: Path) -> None:
    text = (ROOT / "docs/servers.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "mlflow server" in line and "postgresql" in line]
    options = line.partition("--host ")[2].split()[1:]
    server, proxy = free_port(), free_port()
    options[options.index("5000")] = str(server)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/m.db"]
    command += ["--workers", "1", "--host", "127.0.0.1", *options]
    environment = {**isolated_environment(), "PYTHONPATH": f"{ROOT}:{SRC}"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    behind = [sys.executable, "-c", PROXY.format(server, proxy)]

    def status(host: str, origin: str) -> int:
        connection = HTTPConnection("127.0.0.1", proxy, timeout=600)
        headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
        connection.request("POST", "/api/2.0/mlflow/experiments/search", '{"max_results": 1}', headers)
        return connection.getresponse().status

    with (
        running(command, tmp_path, environment, f"http://127.0.0.1:{server}/health"),
        running(behind, tmp_path, environment, f"http://127.0.0.1:{proxy}/health"),
    ):
        assert status("mlflow.example.org", "https://mlflow.example.org") == 200
        assert status("elsewhere.example.org", "https://mlflow.example.org") == 403
        assert status("mlflow.example.org", "https://elsewhere.example.org") == 403
