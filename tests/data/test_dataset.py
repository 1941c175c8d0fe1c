from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from shiftlab.data import dataset as data
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.errors import UserError
from tests.helpers import coloured, dataset, examples


def numbered(labels: list[int]) -> Examples:
    """Images that say which one they are."""
    images = torch.zeros(len(labels), 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels)) % 256
    images[:, 0, 0, 1] = torch.arange(len(labels)) // 256
    return Examples(images, torch.tensor(labels))


def numbers(examples: Examples) -> list[int]:
    return (examples.images[:, 0, 0, 0].int() + 256 * examples.images[:, 0, 0, 1].int()).tolist()


UNEVEN = [digit for digit in range(10) for _ in range(10 * (digit + 1))]  # 10 zeros, 20 ones, ... 100 nines


def test_split_takes_each_class_in_its_share() -> None:
    rest, taken = data.split(numbered(UNEVEN), size=55, seed=0, what="data.validation")
    assert taken.labels.bincount().tolist() == list(range(1, 11))
    assert rest.labels.bincount().tolist() == [9 * n for n in range(1, 11)]


def test_split_parts_are_disjoint_complete_and_in_order() -> None:
    whole = numbered(UNEVEN)
    rest, taken = data.split(whole, size=55, seed=0, what="data.validation")
    assert sorted(numbers(rest) + numbers(taken)) == list(range(len(whole)))
    for part in (rest, taken):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [UNEVEN[number] for number in numbers(part)]


def test_split_follows_its_seed_alone() -> None:
    torch.manual_seed(0)
    first = numbers(data.split(numbered(UNEVEN), size=55, seed=0, what="data.validation")[1])
    torch.manual_seed(1)
    assert numbers(data.split(numbered(UNEVEN), size=55, seed=0, what="data.validation")[1]) == first
    assert numbers(data.split(numbered(UNEVEN), size=55, seed=1, what="data.validation")[1]) != first


@pytest.mark.parametrize("size", [550, 551, 10_000])
def test_split_that_cannot_be_is_a_user_error(size: int) -> None:
    with pytest.raises(UserError, match=rf"data\.validation is {size}"):
        data.split(numbered(UNEVEN), size=size, seed=0, what="data.validation")


def test_data_set_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = dataset(30, 20, 10)
    data.save(saved, tmp_path / "deep" / "dataset.safetensors")
    loaded = data.load(tmp_path / "deep" / "dataset.safetensors")
    for part in ("train", "validation", "test"):
        before, after = getattr(saved, part), getattr(loaded, part)
        assert after.images.dtype == torch.uint8
        assert after.labels.dtype == torch.int64
        assert torch.equal(after.images, before.images)
        assert torch.equal(after.labels, before.labels)
    assert (loaded.classes, loaded.frame, loaded.canvas) == (saved.classes, saved.frame, saved.canvas)


def test_same_data_set_gives_the_same_bytes(tmp_path: Path) -> None:
    data.save(dataset(30), tmp_path / "a")
    every_other = examples(60, seed=1).images[::2]  # not contiguous
    train = dataset(30).train
    every_other.copy_(train.images)
    data.save(replace(dataset(30), train=Examples(every_other, train.labels)), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_each_data_set_has_a_folder_of_its_own() -> None:
    assert data.path("digits") == Path("data/digits/dataset.safetensors")


def test_missing_data_set_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data set at .*gone.*dvc repro download"):
        data.load(tmp_path / "gone")


def test_file_that_is_no_data_set_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "dataset.safetensors"
    data.save(dataset(30), path)
    whole = path.read_bytes()
    other = safetensors.torch.save({"train.images": torch.zeros(1, 1, 28, 28)})
    for content in (b"", b"not a data set", whole[:100], whole[:-1], other):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            data.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_examples_count_their_images_and_move_together() -> None:
    some = examples(7)
    assert len(some) == 7
    moved = some.to(torch.device("meta"))
    assert moved.images.device.type == moved.labels.device.type == "meta"


def test_thousand_classes_in_colour_come_back(tmp_path: Path) -> None:
    part = coloured(6)
    labelled = Examples(part.images, torch.tensor([0, 255, 256, 500, 998, 999]))
    names = tuple(f"class {number}" for number in range(1000))
    train, validation, test = (Examples(part.images + more, labelled.labels) for more in range(3))
    saved = Dataset(train, validation, test, names, (18, 20))
    data.save(saved, tmp_path / "d")
    loaded = data.load(tmp_path / "d")
    assert loaded.test.labels.tolist() == [0, 255, 256, 500, 998, 999]
    assert loaded.classes == names
    assert loaded.shape == (3, 18, 20)


def test_frame_is_the_middle_of_every_image() -> None:
    part = coloured(4)  # 20 high, 26 wide
    framed = Dataset(part, part, part, ("a", "b", "c"), (13, 20)).crop_to_frame()
    assert framed.train.images.shape == framed.test.images.shape == (4, 3, 13, 20)
    assert torch.equal(framed.train.images, part.images[:, :, 3:16, 3:23])
    assert framed.train.images.is_contiguous()


def test_part_may_be_a_share() -> None:
    rest, taken = data.split(numbered(UNEVEN), size=0.1, seed=0, what="data.test")
    assert (len(rest), len(taken)) == (495, 55)


def test_description_tells_size_colours_and_classes() -> None:
    part = coloured(4)
    text = data.describe(Dataset(part, part, part, tuple("abcdefghijklm"), (20, 26)))
    assert "4 training" in text
    assert "26x20 pixels in colour, 13 classes (a, b, c, d, e, f, g, h, i, j, ...)" in text
    assert "28x28 pixels grey, 10 classes" in data.describe(dataset(5))
