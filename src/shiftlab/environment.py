"""Environment variables: set for a while, and such that no proxy is asked for this machine itself."""

import contextlib
import os
from collections.abc import Iterator, Mapping

LOOPBACK = ("localhost", "127.0.0.1", "::1")
NO_PROXY = ("no_proxy", "NO_PROXY")  # which libraries read one or the other of
NO_PROXY_AT_ALL = {"no_proxy": "*", "NO_PROXY": "*"}


def spare_loopback() -> None:
    """Except this machine itself from the proxies that the environment names: a proxy would ask itself."""
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
        hosts = [host for name in NO_PROXY for host in os.environ.get(name, "").split(",") if host]
        excepted = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
        os.environ.update(dict.fromkeys(NO_PROXY, excepted))


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as the block lasts."""
    before = {name: os.environ[name] for name in variables.keys() & os.environ.keys()}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)
