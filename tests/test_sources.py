import gzip
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from shiftlab import sources
from shiftlab.data import Examples
from shiftlab.errors import UserError
from shiftlab.sources import NoMirrorError, fetch

Answer = Callable[[BaseHTTPRequestHandler], None]

NAME = "images.gz"
CONTENT = b"what was published" * 10_000


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def send(content: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer with `content`, announced as `length` bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def break_off_a_chunk(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT[:1000])


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


class Mirror(ThreadingHTTPServer):
    """A mirror on the loopback that gives its answers in turn, and the last one ever after."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[str] = []
        self.closed = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                answers[min(len(mirror.requests), len(answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"


def silence(request: BaseHTTPRequestHandler) -> None:
    assert isinstance(request.server, Mirror)
    request.server.closed.wait(60)


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


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.delenv("SHIFTLAB_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def refused() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


ALWAYS = sources.ATTEMPTS


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
    monkeypatch.setattr(sources, "TIMEOUT_S", 0.2 if failure is silence else 20)
    bad, good = serve(failure), serve(send(CONTENT))
    assert fetch(NAME, md5(CONTENT), [bad.address, good.address]) == CONTENT
    assert requests is None or len(bad.requests) == requests
    assert good.requests == [f"/{NAME}"]
    with pytest.raises(NoMirrorError) as caught:
        fetch(NAME, md5(CONTENT), [bad.address])
    assert f"{bad.address}: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [send(b"", 503), send(CONTENT[:1000], length=len(CONTENT)), hang_up],
    ids=["broken server", "cut off", "hung up"],
)
def test_mirror_that_recovers_is_enough(failure: Answer, serve: Callable[..., Mirror]) -> None:
    mirror, unused = serve(failure, send(CONTENT)), serve(send(CONTENT))
    assert fetch(NAME, md5(CONTENT), [mirror.address, unused.address]) == CONTENT
    assert len(mirror.requests) == 2
    assert unused.requests == []


def test_mirror_that_refuses_to_connect_is_left_for_the_next(refused: str, serve: Callable[..., Mirror]) -> None:
    assert fetch(NAME, md5(CONTENT), [refused, serve(send(CONTENT)).address]) == CONTENT


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1/donn\u00e9es", "http://127.0.0.1:port"])
def test_malformed_address_is_left_for_the_next(address: str, serve: Callable[..., Mirror]) -> None:
    assert fetch(NAME, md5(CONTENT), [address, serve(send(CONTENT)).address]) == CONTENT
    with pytest.raises(NoMirrorError) as caught:
        fetch(NAME, md5(CONTENT), [address])
    assert f"{address}: " in str(caught.value)


def test_whole_file_is_taken_whatever_length_it_announced(serve: Callable[..., Mirror]) -> None:
    assert fetch(NAME, md5(CONTENT), [serve(no_length).address]) == CONTENT


def test_without_any_mirror_each_ones_reason_is_told(
    refused: str, serve: Callable[..., Mirror], tmp_path: Path
) -> None:
    missing = serve(send(b"", 404))
    with pytest.raises(NoMirrorError) as caught:
        fetch(NAME, md5(CONTENT), [refused, missing.address, str(tmp_path)])
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert NAME in message
    assert f"{refused}: " in message
    assert "refused" in message
    assert f"{missing.address}: HTTP status 404" in message
    assert f"{tmp_path}: no such file" in message
    assert "SHIFTLAB_MIRROR" in message
    assert "data=digits" in message


@pytest.mark.parametrize("folder", ["plain", "with spaces and #%?"])
def test_folder_is_a_mirror(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / NAME).write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    for address in (str(tmp_path / folder), folder, f"./{folder}/", (tmp_path / folder).as_uri()):
        assert fetch(NAME, md5(CONTENT), [address]) == CONTENT


def test_file_address_may_be_written_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "with spaces").mkdir()
    (tmp_path / "with spaces" / NAME).write_bytes(CONTENT)
    assert fetch(NAME, md5(CONTENT), [f"file://{tmp_path}/with spaces/"]) == CONTENT


def test_damaged_file_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(NoMirrorError, match="another file"):
        fetch(NAME, md5(CONTENT), [str(tmp_path)])


TRAIN, TEST = (
    Examples(torch.arange(count * 784).remainder(251).to(torch.uint8).reshape(count, 28, 28), torch.arange(count))
    for count in (7, 3)
)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four small files in MNIST's format, in place of those that were published."""
    folder = tmp_path / "published"
    folder.mkdir()
    for part, examples in (("train", TRAIN), ("t10k", TEST)):
        count = len(examples)
        images = struct.pack(">4i", 0x803, count, 28, 28) + examples.images.numpy().tobytes()
        labels = struct.pack(">2i", 0x801, count) + examples.labels.to(torch.uint8).numpy().tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, mtime=0))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels, mtime=0))
    resources = [(path.name, md5(path.read_bytes())) for path in sorted(folder.iterdir())]
    monkeypatch.setattr(MNIST, "resources", resources)
    return folder


def serve_folder(folder: Path) -> Answer:
    return lambda request: send((folder / request.path.lstrip("/")).read_bytes())(request)


def assert_published(parts: tuple[Examples, Examples]) -> None:
    for part, expected in zip(parts, (TRAIN, TEST), strict=True):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)


def test_mnist_is_fetched_and_decoded(published: Path, tmp_path: Path, serve: Callable[..., Mirror]) -> None:
    mirror = serve(serve_folder(published))
    assert_published(sources.acquire("mnist", tmp_path / "data", [mirror.address]))
    assert len(mirror.requests) == 4
    kept = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert kept == {path.name: path.read_bytes() for path in published.iterdir()}


def test_mnist_is_not_fetched_again(published: Path, tmp_path: Path) -> None:
    sources.mnist(tmp_path / "data", [str(published)])
    published.rename(tmp_path / "gone")
    assert_published(sources.mnist(tmp_path / "data", []))


def test_damaged_file_alone_is_fetched_again(published: Path, tmp_path: Path, serve: Callable[..., Mirror]) -> None:
    mirror = serve(serve_folder(published))
    sources.mnist(tmp_path / "data", [str(published)])
    damaged = tmp_path / "data" / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert_published(sources.mnist(tmp_path / "data", [mirror.address]))
    assert mirror.requests == ["/train-images-idx3-ubyte.gz"]


def test_interrupted_download_keeps_the_files_that_are_whole(published: Path, tmp_path: Path) -> None:
    (published / "train-labels-idx1-ubyte.gz").rename(tmp_path / "held back")
    with pytest.raises(NoMirrorError, match="train-labels-idx1-ubyte"):
        sources.mnist(tmp_path / "data", [str(published)])
    kept = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert kept == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"]


def test_environments_mirror_comes_first_and_torchvisions_last(
    published: Path, tmp_path: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refusing(name: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            asked.append(name)
            send(b"", 404)(request)

        return serve(answer).address

    monkeypatch.setenv("SHIFTLAB_MIRROR", refusing("environment"))
    monkeypatch.setattr(MNIST, "mirrors", [refusing("torchvision"), str(published)])
    sources.mnist(tmp_path / "data", [refusing("parameters")])
    assert asked == ["environment", "parameters", "torchvision"] * 4


def test_mnist_that_was_fetched_before_is_a_mirror(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    sources.mnist(tmp_path / "data" / "mnist", [str(published)])
    assert_published(sources.mnist(tmp_path / "data" / "mnist_canvas", []))


REAL = {  # SHA-256 of the four files as LeCun, Cortes and Burges published them, decompressed
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "test-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "test-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_real_mnist_is_the_published_one(tmp_path: Path) -> None:
    mirror = os.environ.get("SHIFTLAB_TEST_MNIST", "")
    if not Path(mirror, "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("set SHIFTLAB_TEST_MNIST to a folder that holds MNIST's four published .gz files")
    folder = tmp_path / "data"
    for mirrors in ([mirror], []):
        train, test = sources.mnist(folder, mirrors)
    for name, part, count in (("train", train, 60_000), ("test", test, 10_000)):
        assert part.images.shape == (count, 28, 28)
        images = struct.pack(">4i", 0x803, count, 28, 28) + part.images.numpy().tobytes()
        labels = struct.pack(">2i", 0x801, count) + part.labels.to(torch.uint8).numpy().tobytes()
        assert hashlib.sha256(images).hexdigest() == REAL[f"{name}-images"]
        assert hashlib.sha256(labels).hexdigest() == REAL[f"{name}-labels"]
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert torch.equal(sources.mnist(folder, [mirror])[1].labels, test.labels)
    assert len(list(folder.iterdir())) == 4


@pytest.fixture(scope="module")
def digits() -> tuple[Examples, Examples]:
    return sources.acquire("digits", Path("unused"), [])


def test_digits_are_all_of_scikit_learns(digits: tuple[Examples, Examples]) -> None:
    train, test = digits
    assert train.images.shape == (1438, 28, 28)
    assert test.images.shape == (359, 28, 28)
    assert torch.cat([train.labels, test.labels]).bincount().tolist() == [
        *(178, 182, 177, 183, 181),
        *(182, 181, 179, 174, 180),
    ]


def test_digits_have_mnists_format(digits: tuple[Examples, Examples]) -> None:
    for part in digits:
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.images.max() == 255
        outside = part.images.clone()
        outside[:, 4:24, 4:24] = 0
        assert not outside.any()
        assert part.images[:, 4:24, 4:24].amax((1, 2)).min() > 150  # ink on every one of them


def test_digits_test_set_has_each_digit_in_its_share(digits: tuple[Examples, Examples]) -> None:
    shares = digits[1].labels.bincount() / (digits[0].labels.bincount() + digits[1].labels.bincount())
    assert (shares - 0.2).abs().max() < 0.01


def test_digits_are_the_same_every_time(digits: tuple[Examples, Examples]) -> None:
    torch.manual_seed(5)
    for part, again in zip(digits, sources.digits(Path("unused"), []), strict=True):
        assert torch.equal(part.images, again.images)
        assert torch.equal(part.labels, again.labels)


def test_digits_leave_no_files(tmp_path: Path) -> None:
    sources.digits(tmp_path / "data", [])
    assert not list(tmp_path.iterdir())
