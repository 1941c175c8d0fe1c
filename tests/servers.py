"""Servers that tests start: a free port, a process that ends with the test, and a wait until it answers."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError

PATIENCE_S = 600


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
