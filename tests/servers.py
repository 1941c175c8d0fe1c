"""Servers that tests start: a free port, a process that ends with the test, and a wait until it answers."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError

import psutil

PATIENCE_S = 600
KEYS = {  # of moto's S3
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], address: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server, from when `address` answers on; killed with all its children in the end."""
    log = cwd / f"server-{free_port()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), cwd=cwd, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        log.unlink()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except HTTPError:
        return True
    except (URLError, ConnectionError, TimeoutError):
        return False
    return True


@dataclass
class Node:
    """A Ray node on loopback, with a workspace of its own."""

    head: str  # HOST:PORT of the cluster's
    folder: Path
    environment: Mapping[str, str]
    first: bool = False
    cores: int = 1
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        host, _, port = self.head.partition(":")
        place = ["--head", "--port", port, "--include-dashboard=false"] if self.first else ["--address", self.head]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *place, "--block", f"--num-cpus={self.cores}"]
        environment = {**self.environment, "SHIFTLAB_WORKSPACE": str(self.folder / "workspace")}
        log = (self.folder / "ray.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--node-ip-address", host, "--disable-usage-stats"],
            cwd=self.folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until it answers, if it is the head."""
        assert self.process
        host, _, port = self.head.partition(":")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=10):
                return
            assert self.process.poll() is None, (self.folder / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def below(self) -> list[psutil.Process]:
        """Everything that it runs."""
        assert self.process
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """As when its machine is switched off: all at once."""
        assert self.process
        for process in self.below():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()
