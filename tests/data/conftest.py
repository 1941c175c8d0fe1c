"""Mirrors that end with their test, and nothing from outside."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tenacity import wait_none
from torchvision.datasets import CIFAR10, MNIST

from shiftlab.data import download
from tests.data.mirrors import Answer, Mirror


@pytest.fixture
def serve() -> Iterator[Callable[..., Mirror]]:
    mirrors = []

    def start(*answers: Answer) -> Mirror:
        mirror = Mirror(*answers)
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        mirrors.append(mirror)
        return mirror

    yield start
    for mirror in mirrors:
        mirror.closed.set()
        mirror.shutdown()
        mirror.server_close()


@pytest.fixture
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download._request.retry, "wait", wait_none())
    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.setattr(CIFAR10, "url", "file:///nowhere/cifar-10-python.tar.gz")
    monkeypatch.delenv("SHIFTLAB_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def refused() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
