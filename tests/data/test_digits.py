from pathlib import Path

import pytest
import torch

from shiftlab.data.dataset import Examples
from shiftlab.data.sources.digits import digits as digits_of_scikit_learn


@pytest.fixture(scope="module")
def digits() -> tuple[Examples, Examples]:
    return digits_of_scikit_learn()[:2]


def test_digits_are_all_of_scikit_learns(digits: tuple[Examples, Examples]) -> None:
    train, test = digits
    assert train.images.shape == (1438, 1, 28, 28)
    assert test.images.shape == (359, 1, 28, 28)
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
        outside[..., 4:24, 4:24] = 0
        assert not outside.any()
        assert part.images[..., 4:24, 4:24].amax((1, 2, 3)).min() > 150  # ink on every one of them


def test_digits_test_set_has_each_digit_in_its_share(digits: tuple[Examples, Examples]) -> None:
    shares = digits[1].labels.bincount() / (digits[0].labels.bincount() + digits[1].labels.bincount())
    assert (shares - 0.2).abs().max() < 0.01


def test_digits_are_the_same_every_time_and_leave_no_files(
    digits: tuple[Examples, Examples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    for part, again in zip(digits, digits_of_scikit_learn()[:2], strict=True):
        assert torch.equal(part.images, again.images)
        assert torch.equal(part.labels, again.labels)
    assert not list(tmp_path.iterdir())
