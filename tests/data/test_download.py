import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shiftlab.data import download as downloads
from shiftlab.data.download import PublishedFile, download
from shiftlab.errors import NoMirrorError, UserError
from tests.data.mirrors import Answer, Mirror, md5, send

pytestmark = pytest.mark.usefixtures("nothing_from_outside")

NAME = "images.gz"
CONTENT = b"what was published" * 10_000
FILE = PublishedFile("MNIST", NAME, md5(CONTENT))


def break_off_a_chunk(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT[:1000])


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def silence(request: BaseHTTPRequestHandler) -> None:
    assert isinstance(request.server, Mirror)
    request.server.closed.wait(60)


ALWAYS = downloads.ATTEMPTS


def no_length(request: BaseHTTPRequestHandler) -> None:
    """The whole file, announced with nonsense."""
    request.send_response(200)
    request.send_header("Content-Length", "abc")
    request.end_headers()
    request.wfile.write(CONTENT)


def redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "http://[::1/elsewhere")
    request.end_headers()


FAILURES = [
    pytest.param(redirect, 1, "not an address", id="redirected to nowhere"),
    pytest.param(send(b"", 404), 1, "HTTP status 404", id="not found"),
    pytest.param(send(b"", 500), ALWAYS, "HTTP status 500", id="broken server"),
    pytest.param(send(b"", 429), ALWAYS, "HTTP status 429", id="busy server"),
    pytest.param(send(CONTENT[:-1], length=len(CONTENT)), ALWAYS, "broke off after 179,999 of 180,000", id="cut off"),
    pytest.param(break_off_a_chunk, ALWAYS, "IncompleteRead", id="cut off in a chunk"),
    pytest.param(hang_up, ALWAYS, "", id="hung up"),
    pytest.param(silence, ALWAYS, "timed out", id="silent"),
    pytest.param(send(CONTENT[:-1] + b"?"), None, "sent another file", id="corrupted"),
    pytest.param(send(b"another file"), None, "sent another file", id="wrong file"),
    pytest.param(send(b""), None, "sent another file", id="empty"),
    pytest.param(send(b"\n<!DOCTYPE html><html>Log in to the network</html>"), None, "sent a web page", id="web page"),
]


@pytest.mark.parametrize(("failure", "requests", "reason"), FAILURES)
def test_mirror_that_fails_is_left_for_the_next(
    failure: Answer, requests: int | None, reason: str, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2 if failure is silence else 20)
    bad, good = serve(failure), serve(send(CONTENT))
    assert download(FILE, [bad.address, good.address]) == CONTENT
    assert requests is None or len(bad.requests) == requests
    assert good.requests == [f"/{NAME}"]
    with pytest.raises(NoMirrorError) as caught:
        download(FILE, [bad.address])
    assert f"{bad.address}: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [send(b"", 503), send(CONTENT[:1000], length=len(CONTENT)), hang_up],
    ids=["broken server", "cut off", "hung up"],
)
def test_mirror_that_recovers_is_enough(failure: Answer, serve: Callable[..., Mirror]) -> None:
    mirror, unused = serve(failure, send(CONTENT)), serve(send(CONTENT))
    assert download(FILE, [mirror.address, unused.address]) == CONTENT
    assert len(mirror.requests) == 2
    assert unused.requests == []


def test_mirror_that_refuses_to_connect_is_left_for_the_next(refused: str, serve: Callable[..., Mirror]) -> None:
    assert download(FILE, [refused, serve(send(CONTENT)).address]) == CONTENT


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1/donn\u00e9es", "http://127.0.0.1:port"])
def test_malformed_address_is_left_for_the_next(address: str, serve: Callable[..., Mirror]) -> None:
    assert download(FILE, [address, serve(send(CONTENT)).address]) == CONTENT
    with pytest.raises(NoMirrorError) as caught:
        download(FILE, [address])
    assert f"{address}: " in str(caught.value)


def test_whole_file_is_taken_whatever_length_it_announced(serve: Callable[..., Mirror]) -> None:
    assert download(FILE, [serve(no_length).address]) == CONTENT


def test_without_any_mirror_each_ones_reason_is_told(
    refused: str, serve: Callable[..., Mirror], tmp_path: Path
) -> None:
    missing = serve(send(b"", 404))
    with pytest.raises(NoMirrorError) as caught:
        download(FILE, [refused, missing.address, str(tmp_path)])
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert NAME in message
    assert f"{refused}: " in message
    assert "refused" in message
    assert f"{missing.address}: HTTP status 404" in message
    assert f"{tmp_path}: no such file (looked for images.gz" in message
    assert "SHIFTLAB_MIRROR" in message
    assert "make demo" in message


@pytest.mark.parametrize("folder", ["plain", "with spaces and #%?"])
def test_folder_is_a_mirror(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / NAME).write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    for address in (str(tmp_path / folder), folder, f"./{folder}/", (tmp_path / folder).as_uri()):
        assert download(FILE, [address]) == CONTENT


def test_file_address_may_be_written_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "with spaces").mkdir()
    (tmp_path / "with spaces" / NAME).write_bytes(CONTENT)
    assert download(FILE, [f"file://{tmp_path}/with spaces/"]) == CONTENT


def test_damaged_file_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(NoMirrorError, match="another file"):
        download(FILE, [str(tmp_path)])
