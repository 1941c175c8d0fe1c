"""CIFAR-10, from a small archive of the published format: pickles as Python 2 wrote them, in a .tar.gz."""

import io
import pickle
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from shiftlab.config.params import Data, Params
from shiftlab.data.prepare import build_dataset
from shiftlab.errors import NoMirrorError, UserError
from tests.data.mirrors import Mirror, md5, send_folder
from tests.helpers import PARAMETERS

pytestmark = pytest.mark.usefixtures("nothing_from_outside")

CODE = "src/shiftlab/data/sources/cifar10.py"
RNG = np.random.default_rng(0)
COUNTS = {"data_batch_1": 20, "data_batch_2": 30, "test_batch": 20}
BATCHES = {
    name: (RNG.integers(0, 256, (count, 3072), dtype=np.uint8), [number % 10 for number in range(count)])
    for name, count in COUNTS.items()
}


PurePython: Any = pickle._Pickler  # unlike the one in C, it can be changed


class Python2Pickler(PurePython):  # type: ignore[misc]
    """Writes strings and bytes as Python 2 did: both as its `str`."""

    dispatch: ClassVar = dict(PurePython.dispatch)

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def pickled(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    # NumPy's modules have had other names since.
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(name: str) -> dict[str, Any]:
    pixels, labels = BATCHES[name]
    names = [f"leptodactylus_pentadactylus_s_{number:06}.png" for number in range(len(labels))]
    return {"batch_label": f"{name} of some", "labels": labels, "data": pixels, "filenames": names}


def archive(path: Path, contents: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w:gz") as file:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        for name, content in {"readme.html": b"<html>", **contents}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path.read_bytes()


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put an archive into a folder, in place of the one that was published; changes are to its members."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", ""], ["data_batch_2", ""]])
    folder = tmp_path / "published"
    folder.mkdir()

    def write(**changes: bytes | None) -> Path:
        members = {**{name: pickled(batch(name)) for name in BATCHES}, **changes}
        whole = {name: content for name, content in members.items() if content is not None}
        content = archive(folder / "cifar-10-python.tar.gz", whole)
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(content))
        return folder

    return write


def options(*mirrors: str, **changes: Any) -> Data:
    values = {**PARAMETERS["data"], "name": "cifar10", "source": "cifar10", "mirrors": list(mirrors)}
    return Data.model_validate({**values, "path": CODE, "validation": 10, **changes})


def test_archive_is_fetched_decoded_and_kept(
    publish: Callable[..., Path], serve: Callable[..., Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish()
    mirror = serve(send_folder(folder))
    monkeypatch.setattr(CIFAR10, "url", f"{mirror.address}/cifar-10-python.tar.gz")  # torchvision's, asked last
    dataset = build_dataset(options())
    assert mirror.requests == ["/cifar-10-python.tar.gz"]
    assert dataset.shape == (3, 32, 32)
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (40, 10, 20)
    pixels, labels = BATCHES["test_batch"]
    assert dataset.test.images.dtype == torch.uint8
    assert np.array_equal(dataset.test.images.numpy(), pixels.reshape(-1, 3, 32, 32))  # red, then green, then blue
    assert dataset.test.labels.tolist() == labels
    learned = {image.numpy().tobytes() for part in (dataset.train, dataset.validation) for image in part.images}
    assert learned == {row.tobytes() for name in ("data_batch_1", "data_batch_2") for row in BATCHES[name][0]}
    kept = tmp_path / "root/data/published/CIFAR10/cifar-10-python.tar.gz"
    assert kept.read_bytes() == (folder / kept.name).read_bytes()
    build_dataset(options())
    assert len(mirror.requests) == 1  # not fetched again


def test_same_examples_as_torchvision_reads(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish()
    with tarfile.open(folder / "cifar-10-python.tar.gz") as file:
        file.extractall(folder)
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda _: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy.core, as the pickles have it, is an old name
        peer = CIFAR10(folder, train=False)
    dataset = build_dataset(options(str(folder)))
    assert np.array_equal(dataset.test.images.permute(0, 2, 3, 1).numpy(), peer.data)
    assert dataset.test.labels.tolist() == peer.targets


def test_another_archive_is_refused_unread(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish()
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(NoMirrorError, match=r"cifar-10-python\.tar\.gz of CIFAR10 could not .*another file"):
        build_dataset(options(str(folder)))


class Payload:
    """What a malicious pickle does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Evaluated:
    def __reduce__(self) -> Any:
        return eval, ("1 + 1",)


def test_pickle_that_names_code_is_refused_and_runs_nothing(publish: Callable[..., Path], tmp_path: Path) -> None:
    for content in (Payload(tmp_path / "run"), {**batch("test_batch"), "labels": Evaluated()}):
        folder = publish(test_batch=pickle.dumps(content, protocol=2))
        with pytest.raises(UserError, match=r"can't be decoded \(a batch names [\w.]+, which is no part of CIFAR-10\)"):
            build_dataset(options(str(folder)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"not a pickle",
        pickled(["a list"]),
        pickled({"data": BATCHES["test_batch"][0]}),
        pickled({**batch("test_batch"), "labels": [0]}),
        pickled({**batch("test_batch"), "data": BATCHES["test_batch"][0][:, :-1]}),
        pickled({**batch("test_batch"), "data": BATCHES["test_batch"][0].astype(np.float32)}),
    ],
)
def test_batch_of_another_format_is_refused(content: bytes | None, publish: Callable[..., Path]) -> None:
    folder = publish(test_batch=content)
    with pytest.raises(UserError, match=r"CIFAR-10's archive can't be decoded \(.+\): delete data/published/CIFAR10"):
        build_dataset(options(str(folder)))


def test_canvas_is_larger_than_the_images() -> None:
    for canvas, size in ((48, (48, 48)), (32, (32, 32))):
        assert options(canvas=canvas).image_size == size
    for canvas in (28, 31, 47):
        values = {**PARAMETERS, "data": options(canvas=canvas).model_dump()}
        with pytest.raises(ValueError, match=f"data.canvas is {canvas}, but images of 32x32 need one as large"):
            Params.model_validate(values)
