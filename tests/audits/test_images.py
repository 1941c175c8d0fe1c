import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shiftlab.audits.images import Images, PreparedImages, from_arrays, load_images
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import PreprocessingHints
from shiftlab.data import folder
from shiftlab.errors import UserError

SEEN = Preprocessing.of(PreprocessingHints(frame=(12, 16), channels="rgb", mean=(0.0,), std=(1.0,)), None)


def noise(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.integers(0, 256, size, dtype=np.uint8)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("auk", "wren"):
        for number in range(6):
            place = tmp_path / "birds" / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(rng, 20, 30, 3)).save(place)
    return tmp_path / "birds"


def everything(images: Images, seen: Preprocessing = SEEN, margin: int = 0, size: int = 5) -> torch.Tensor:
    return torch.cat(list(PreparedImages(images, seen).chunks(margin, size)))


def test_a_folder_streams_as_its_files_are(birds: Path) -> None:
    images = load_images(str(birds))
    assert (images.name, images.classes, len(images)) == ("birds", ("auk", "wren"), 12)
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 6 + [1] * 6
    found = everything(images)
    paths = sorted(birds.rglob("*.png"))
    expected = np.stack([folder.read(path)[4:16, 7:23] for path in paths]).transpose(0, 3, 1, 2)
    assert np.array_equal(found.numpy(), expected)
    assert torch.equal(everything(images, size=100), found)
    assert torch.equal(torch.cat(list(PreparedImages(images, SEEN).chunks(0, 5, first=7))), found[7:])
    assert torch.equal(PreparedImages(images, SEEN).at([3, 8], 0), found[[3, 8]])


def test_a_reader_that_stops_early_leaves_no_thread_behind(birds: Path) -> None:
    before = threading.active_count()
    batches = PreparedImages(load_images(str(birds)), SEEN).chunks(0, 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before


def test_a_margin_is_what_lies_around(birds: Path) -> None:
    images = load_images(str(birds))
    wide = everything(images, margin=4)
    assert wide.shape == (12, 3, 20, 24)
    assert torch.equal(wide[:, :, 4:16, 4:20], everything(images))
    with pytest.raises(
        UserError, match=r"auk/0\.png has 30x20 pixels, too few to cut 26x22 from: choose a smaller crop"
    ):
        everything(images, margin=5)


def test_images_are_resized_then_cut(birds: Path) -> None:
    small = replace(SEEN, resize=14, frame=(14, 14), interpolation="bicubic")
    found = everything(load_images(str(birds)), small)
    opened = Image.open(sorted(birds.rglob("*.png"))[0]).resize((21, 14), Image.Resampling.BICUBIC)
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), np.asarray(opened)[:, 4:18])


def test_few_are_drawn_from_every_class_and_always_the_same(birds: Path) -> None:
    few = load_images(str(birds)).sample(4, 0)
    assert few.labels is not None
    assert sorted(few.labels.tolist()) == [0, 0, 1, 1]
    again = load_images(str(birds)).sample(4, 0)
    assert few.sha256() == again.sha256()
    assert few.sha256() != load_images(str(birds)).sample(4, 1).sha256()
    assert load_images(str(birds)).sample(100, 0).numbers.tolist() == list(range(12))


def test_digest_changes_with_a_pixel_and_with_a_label() -> None:
    pixels = noise(np.random.default_rng(0), 4, 8, 8)
    first = from_arrays("some", pixels, np.array([0, 1, 0, 1])).sha256()
    assert from_arrays("some", pixels, np.array([0, 1, 1, 1])).sha256() != first
    pixels[0, 0, 0] ^= 1
    assert from_arrays("some", pixels, np.array([0, 1, 0, 1])).sha256() != first


def test_unlabelled_images_lie_in_one_folder(birds: Path) -> None:
    images = load_images(str(birds / "auk"))
    assert (images.labels, images.classes, len(images)) == (None, None, 6)


def test_broken_image_is_named_when_it_is_met(birds: Path) -> None:
    (birds / "auk" / "3.png").write_text("no image")
    with pytest.raises(UserError, match=r"auk/3\.png is not an image"):
        everything(load_images(str(birds)))


@pytest.mark.parametrize("shape", [(6, 9, 8), (6, 9, 8, 1), (6, 1, 9, 8)])
def test_arrays_are_read_in_every_order_that_is_clear(shape: tuple[int, ...]) -> None:
    pixels = noise(np.random.default_rng(0), 6, 9, 8)
    seen = replace(SEEN, frame=(9, 8), channels="grey")
    images = from_arrays("some", pixels.reshape(shape).astype(np.float64), None)
    assert images.size() == (1, 9, 8)
    assert np.array_equal(everything(images, seen)[:, 0].numpy(), pixels)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((4, 3, 9, 3), np.uint8), None, "could be (N, H, W, C) or (N, C, H, W)"),
        (np.zeros((4, 9, 9, 4), np.uint8), None, "neither one channel nor three"),
        (np.zeros((4, 9), np.uint8), None, "they must be (N, H, W)"),
        (np.zeros((0, 9, 9), np.uint8), None, "holds no images"),
        (np.full((4, 9, 9), 0.5), None, "they must be raw, whole numbers from 0 to 255"),
        (np.full((4, 9, 9), 300), None, "from 300 to 300"),
        (np.full((4, 9, 9), np.nan), None, "they must be raw"),
        (np.ones((4, 9, 9)), None, "that are 0 and 1 alone"),
        (np.zeros((4, 9, 9), np.uint8), np.array([0, 1]), "there must be one for each"),
        (np.zeros((4, 9, 9), np.uint8), np.array([0, 1, 0, -1]), "from -1: they must be numbers of classes"),
        (np.zeros((4, 9, 9), np.uint8), np.array([0.0, 1, 0, 1]), "float64 from 0.0: they must be"),
    ],
)
def test_arrays_that_can_be_misread_are_refused(images: np.ndarray, labels: np.ndarray | None, words: str) -> None:
    with pytest.raises(UserError) as caught:
        from_arrays("some", images, labels)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npz_holds_images_labels_and_classes(tmp_path: Path) -> None:
    pixels = noise(np.random.default_rng(0), 4, 8, 8, 3)
    np.savez(tmp_path / "some.npz", images=pixels, labels=np.array([0, 1, 1, 0]), classes=np.array(["cat", "dog"]))
    images = load_images(str(tmp_path / "some.npz"))
    assert (images.name, images.classes, len(images)) == ("some", ("cat", "dog"), 4)
    np.savez(tmp_path / "other.npz", pictures=pixels)
    with pytest.raises(UserError, match="has no array `images`"):
        load_images(str(tmp_path / "other.npz"))
    np.savez(tmp_path / "objects.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"can't be read as \.npz"):
        load_images(str(tmp_path / "objects.npz"))


def test_torchvisions_data_sets_are_read_by_name(tmp_path: Path) -> None:
    images = load_images("torchvision:FakeData", tmp_path)
    assert images.size() == (3, 224, 224)
    with pytest.raises(UserError, match="has no data set 'MadeUp'"):
        load_images("torchvision:MadeUp", tmp_path)
    with pytest.raises(UserError, match=r"CIFAR10 can't be read from .*download=True"):
        load_images("torchvision:CIFAR10", tmp_path)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no images at 'nowhere'"):
        load_images("nowhere")
