"""Fixtures that several test files share."""

import os
import signal
import time
import timeit
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.project import Project, new_project
from tests.servers import KEYS

# A shell that runs pytest in the background has it and all that it starts ignore Ctrl-C, which tests send to stages.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BEGUN = pytest.StashKey[float]()
LAST = "shiftlab/seconds"  # of the last run of all tests, in pytest's cache
REFERENCE_S, REFERENCE_LOOP_S = 12 * 60, 0.037  # such a run on two cores of an AMD EPYC, and a loop of a million there
MOST = 1000  # tests that are fewer are not all


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how long all tests take: what they took here last, or else what the processor's speed tells."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.keyword:
        return None
    last = config.cache.get(LAST, None) if config.cache else None
    loop = min(timeit.repeat("for i in range(1_000_000): i * i", number=1, repeat=3))
    seconds = last or REFERENCE_S * loop / REFERENCE_LOOP_S
    return f"all of it takes some {round(seconds / 60)} minutes, {'as the last time' if last else 'by a guess'}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note when it begins."""
    session.config.stash[BEGUN] = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Keep how long all of it took."""
    if config.cache and len(terminalreporter.stats.get("passed", [])) > MOST:
        config.cache.set(LAST, time.monotonic() - config.stash[BEGUN])


@pytest.hookimpl(trylast=True)  # of those that are left when the slow ones, or the others, are out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of a finished project last, but for one that makes it at once, while another worker does the rest.

    Making it takes a minute and a half, for which all workers would wait.
    """
    slow = [item for item in items if "reproduced" in getattr(item, "fixturenames", ())]
    items[:] = slow[:1] + [item for item in items if item not in slow] + slow[1:]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's root, of a module's tests; MLflow's store there is made once, since that takes seconds."""
    return tmp_path_factory.mktemp("a root")


@pytest.fixture
def as_a_stage(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What DVC gives to a stage, in a working directory that is neither the root nor a git repository."""
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_STAGE", "train@mlp-3")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their pictures, which take most of their time and play no part in most tests."""
    from shiftlab.reports import primitives  # which imports matplotlib

    monkeypatch.setattr(primitives, "_png", lambda *_: b"")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in which nothing has run."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which `dvc repro` has run and its results are committed. Copy it before changing it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers share: one makes the project, the others wait
    finished = folder / "reproduced" / "finished"
    with FileLock(folder / "reproduced.lock"):
        if not finished.exists():
            project = new_project(folder / "reproduced" / "project")
            project.dvc("repro")
            project.git("add", "--all")
            project.git("commit", "--quiet", "--message", "results")
            finished.touch()
    return Project(folder / "reproduced" / "project")


@pytest.fixture
def done(reproduced: Project, tmp_path: Path) -> Project:
    """A project of the test's own in which `dvc repro` has run and its results are committed."""
    return reproduced.copy(tmp_path / "project")


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of an S3 with the buckets `mlflow` and `dvc`."""
    import boto3  # seconds to import, for the few tests that need it
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    )
    urllib.request.urlopen(f"{address}/moto-api/reset", b"").close()  # for moto keeps a server's objects for the next
    for bucket in ("mlflow", "dvc"):
        client.create_bucket(Bucket=bucket)
    yield address
    server.stop()
