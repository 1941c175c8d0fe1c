import gzip
import hashlib
import os
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from shiftlab.data import published
from shiftlab.data.dataset import Examples
from shiftlab.data.published import fetch
from shiftlab.errors import NoMirrorError, UserError

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
    monkeypatch.setattr(published, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.delenv("SHIFTLAB_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def refused() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


ALWAYS = published.ATTEMPTS


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
    monkeypatch.setattr(published, "TIMEOUT_S", 0.2 if failure is silence else 20)
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
    assert f"{tmp_path}: no such file (looked for images.gz" in message
    assert "SHIFTLAB_MIRROR" in message
    assert "make demo" in message


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
    Examples(torch.arange(count * 784).remainder(251).to(torch.uint8).reshape(count, 1, 28, 28), torch.arange(count))
    for count in (7, 3)
)


@pytest.fixture(params=[MNIST, FashionMNIST], ids=["mnist", "fashion"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[MNIST]:
    """Four small files in MNIST's format in the folder `published`, in place of those that were published."""
    chosen: type[MNIST] = request.param
    folder = tmp_path / "published"
    folder.mkdir()
    for part, examples in (("train", TRAIN), ("t10k", TEST)):
        count = len(examples)
        images = struct.pack(">4i", 0x803, count, 28, 28) + examples.images.numpy().tobytes()
        labels = struct.pack(">2i", 0x801, count) + examples.labels.to(torch.uint8).numpy().tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, mtime=0))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels, mtime=0))
    monkeypatch.setattr(chosen, "resources", [(path.name, md5(path.read_bytes())) for path in sorted(folder.iterdir())])
    monkeypatch.setattr(chosen, "mirrors", [])
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    return chosen


@pytest.fixture
def folder(dataset: type[MNIST], tmp_path: Path) -> Path:  # noqa: ARG001
    return tmp_path / "published"


def kept(dataset: type[MNIST], tmp_path: Path) -> Path:
    return tmp_path / "root" / "data" / "published" / dataset.__name__


def serve_folder(folder: Path) -> Answer:
    return lambda request: send((folder / request.path.lstrip("/")).read_bytes())(request)


def assert_published(parts: tuple[Examples, Examples]) -> None:
    for part, expected in zip(parts, (TRAIN, TEST), strict=True):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)


def test_files_are_fetched_decoded_and_kept(
    dataset: type[MNIST], folder: Path, tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    mirror = serve(serve_folder(folder))
    assert_published(published.decoded(dataset, [mirror.address]))
    assert len(mirror.requests) == 4
    found = {path.name: path.read_bytes() for path in kept(dataset, tmp_path).iterdir()}
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_classes_have_names(dataset: type[MNIST], folder: Path) -> None:
    acquire = {MNIST: published.mnist, FashionMNIST: published.fashion}[dataset]
    *parts, classes = acquire([str(folder)])
    assert_published((parts[0], parts[1]))
    assert len(classes) == 10
    assert classes[9] == {MNIST: "9", FashionMNIST: "Ankle boot"}[dataset]


def test_files_are_not_fetched_again(dataset: type[MNIST], folder: Path, tmp_path: Path) -> None:
    published.decoded(dataset, [str(folder)])
    folder.rename(tmp_path / "gone")
    assert_published(published.decoded(dataset, []))


def test_damaged_file_alone_is_fetched_again(
    dataset: type[MNIST], folder: Path, tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    mirror = serve(serve_folder(folder))
    published.decoded(dataset, [str(folder)])
    damaged = kept(dataset, tmp_path) / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert_published(published.decoded(dataset, [mirror.address]))
    assert mirror.requests == ["/train-images-idx3-ubyte.gz"]


def test_interrupted_download_keeps_the_files_that_are_whole(
    dataset: type[MNIST], folder: Path, tmp_path: Path
) -> None:
    (folder / "train-labels-idx1-ubyte.gz").rename(tmp_path / "held back")
    with pytest.raises(NoMirrorError, match="train-labels-idx1-ubyte"):
        published.decoded(dataset, [str(folder)])
    found = sorted(path.name for path in kept(dataset, tmp_path).iterdir())
    assert found == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"]


def test_environments_mirror_comes_first_and_torchvisions_last(
    dataset: type[MNIST], folder: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refusing(name: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            asked.append(name)
            send(b"", 404)(request)

        return serve(answer).address

    monkeypatch.setenv("SHIFTLAB_MIRROR", refusing("environment"))
    monkeypatch.setattr(dataset, "mirrors", [refusing("torchvision"), str(folder)])
    published.decoded(dataset, [refusing("parameters")])
    assert asked == ["environment", "parameters", "torchvision"] * 4


UNPACKED = {
    "unpacked": "{}",
    "Kaggle's dots": "{dots}",
    "Kaggle's folders": "{}/{}",
    "torchvision's root": "MNIST/raw/{}",
    "torchvision's folder": "raw/{}",
}


@pytest.mark.parametrize("dataset", [MNIST], indirect=True)
@pytest.mark.parametrize("layout", UNPACKED)
def test_copies_that_people_have_are_taken(
    layout: str, dataset: type[MNIST], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {}
    for name, digest in dataset.resources:
        content = gzip.decompress((folder / name).read_bytes())
        known[digest] = hashlib.sha256(content).hexdigest()
        stem = Path(name).stem
        copy = tmp_path / "copy" / UNPACKED[layout].format(stem, stem, dots=stem.replace("-idx", ".idx"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    monkeypatch.setattr(published, "UNPACKED", known)
    assert_published(published.decoded(dataset, [str(tmp_path / "copy")]))
    shutil.rmtree(tmp_path / "copy")
    assert_published(published.decoded(dataset, []))  # what was kept serves again


def test_packed_files_in_torchvisions_root_are_taken(dataset: type[MNIST], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "root of datasets" / dataset.__name__ / "raw")
    assert_published(published.decoded(dataset, [str(tmp_path / "root of datasets")]))


def test_folder_that_cannot_serve_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    name, digest = MNIST.resources[0]
    for other in ("holiday.jpg", "notes.txt"):
        (tmp_path / other).touch()
    (tmp_path / "raw").mkdir()
    with pytest.raises(NoMirrorError) as caught:
        fetch(name, digest, [str(tmp_path)])
    message = str(caught.value)
    for word in (
        "train-images-idx3-ubyte.gz",
        "train-images.idx3-ubyte",
        "MNIST/raw/",
        "holiday.jpg",
        "notes.txt",
        "raw/",
    ):
        assert word in message
    with pytest.raises(NoMirrorError, match="no such folder"):
        fetch(name, digest, [str(tmp_path / "nowhere")])


REAL = {  # SHA-256 of the four files as LeCun, Cortes and Burges published them, decompressed
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "test-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "test-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_real_mnist_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = os.environ.get("SHIFTLAB_TEST_MNIST", "")
    if not Path(mirror, "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("set SHIFTLAB_TEST_MNIST to a folder that holds MNIST's four published .gz files")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for mirrors in ([mirror], []):
        train, test, _ = published.mnist(mirrors)
    for name, part, count in (("train", train, 60_000), ("test", test, 10_000)):
        assert part.images.shape == (count, 1, 28, 28)
        images = struct.pack(">4i", 0x803, count, 28, 28) + part.images.numpy().tobytes()
        labels = struct.pack(">2i", 0x801, count) + part.labels.to(torch.uint8).numpy().tobytes()
        assert hashlib.sha256(images).hexdigest() == REAL[f"{name}-images"]
        assert hashlib.sha256(labels).hexdigest() == REAL[f"{name}-labels"]
    folder = tmp_path / "data" / "published" / "MNIST"
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert torch.equal(published.mnist([mirror])[1].labels, test.labels)
    assert len(list(folder.iterdir())) == 4
    assert {name: published.UNPACKED[digest] for name, digest in MNIST.resources} == {
        "train-images-idx3-ubyte.gz": REAL["train-images"],
        "train-labels-idx1-ubyte.gz": REAL["train-labels"],
        "t10k-images-idx3-ubyte.gz": REAL["test-images"],
        "t10k-labels-idx1-ubyte.gz": REAL["test-labels"],
    }
