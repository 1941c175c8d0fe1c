import gzip
import hashlib
import os
import shutil
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from shiftlab.config.params import Data
from shiftlab.data import mnist_format, sources
from shiftlab.data.dataset import Examples
from shiftlab.data.download import PublishedFile, download
from shiftlab.errors import NoMirrorError
from tests.data.mirrors import Mirror, md5, send, send_folder

if TYPE_CHECKING:
    from shiftlab.data.sources import Loaded

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


SOURCES = {MNIST: "mnist", FashionMNIST: "fashion"}


def load(dataset: type[MNIST], mirrors: list[str]) -> "Loaded":
    return sources.get(SOURCES[dataset]).load(Data.model_construct(mirrors=mirrors))


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


def assert_published(loaded: "Loaded") -> None:
    for part, expected in zip(loaded[:2], (TRAIN, TEST), strict=True):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)


def test_files_are_fetched_decoded_and_kept(
    dataset: type[MNIST], folder: Path, tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    mirror = serve(send_folder(folder))
    assert_published(load(dataset, [mirror.address]))
    assert len(mirror.requests) == 4
    found = {path.name: path.read_bytes() for path in kept(dataset, tmp_path).iterdir()}
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_classes_have_names(dataset: type[MNIST], folder: Path) -> None:
    *_, classes = load(dataset, [str(folder)])
    assert classes == sources.get(SOURCES[dataset]).classes
    assert len(classes) == 10
    assert classes[9] == {MNIST: "9", FashionMNIST: "Ankle boot"}[dataset]


def test_files_are_not_fetched_again(dataset: type[MNIST], folder: Path, tmp_path: Path) -> None:
    load(dataset, [str(folder)])
    folder.rename(tmp_path / "gone")
    assert_published(load(dataset, []))


def test_damaged_file_alone_is_fetched_again(
    dataset: type[MNIST], folder: Path, tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    mirror = serve(send_folder(folder))
    load(dataset, [str(folder)])
    damaged = kept(dataset, tmp_path) / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert_published(load(dataset, [mirror.address]))
    assert mirror.requests == ["/train-images-idx3-ubyte.gz"]


def test_interrupted_download_keeps_the_files_that_are_whole(
    dataset: type[MNIST], folder: Path, tmp_path: Path
) -> None:
    (folder / "train-labels-idx1-ubyte.gz").rename(tmp_path / "held back")
    with pytest.raises(NoMirrorError, match="train-labels-idx1-ubyte"):
        load(dataset, [str(folder)])
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
    load(dataset, [refusing("parameters")])
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
    monkeypatch.setattr(mnist_format, "UNPACKED", known)
    assert_published(load(dataset, [str(tmp_path / "copy")]))
    shutil.rmtree(tmp_path / "copy")
    assert_published(load(dataset, []))  # what was kept serves again


def test_packed_files_in_torchvisions_root_are_taken(dataset: type[MNIST], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "root of datasets" / dataset.__name__ / "raw")
    assert_published(load(dataset, [str(tmp_path / "root of datasets")]))


def test_folder_that_cannot_serve_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    name, digest = MNIST.resources[0]
    file = PublishedFile("MNIST", name, digest, mnist_format.UNPACKED[digest])
    for other in ("holiday.jpg", "notes.txt"):
        (tmp_path / other).touch()
    (tmp_path / "raw").mkdir()
    with pytest.raises(NoMirrorError) as caught:
        download(file, [str(tmp_path)])
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
        download(file, [str(tmp_path / "nowhere")])


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
        train, test, _ = load(MNIST, mirrors)
    for name, part, count in (("train", train, 60_000), ("test", test, 10_000)):
        assert part.images.shape == (count, 1, 28, 28)
        images = struct.pack(">4i", 0x803, count, 28, 28) + part.images.numpy().tobytes()
        labels = struct.pack(">2i", 0x801, count) + part.labels.to(torch.uint8).numpy().tobytes()
        assert hashlib.sha256(images).hexdigest() == REAL[f"{name}-images"]
        assert hashlib.sha256(labels).hexdigest() == REAL[f"{name}-labels"]
    folder = tmp_path / "data" / "published" / "MNIST"
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert torch.equal(load(MNIST, [mirror])[1].labels, test.labels)
    assert len(list(folder.iterdir())) == 4
    assert {name: mnist_format.UNPACKED[digest] for name, digest in MNIST.resources} == {
        "train-images-idx3-ubyte.gz": REAL["train-images"],
        "train-labels-idx1-ubyte.gz": REAL["train-labels"],
        "t10k-images-idx3-ubyte.gz": REAL["test-images"],
        "t10k-labels-idx1-ubyte.gz": REAL["test-labels"],
    }
