"""Images that are drawn, each class in its share as near as may be."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from shiftlab.audits.images import from_arrays
from shiftlab.data.dataset import Examples, draw, split


def some_labels(rng: np.random.Generator) -> np.ndarray:
    classes, count = int(rng.integers(2, 12)), int(rng.integers(20, 2000))
    return rng.choice(classes, count, p=rng.dirichlet(np.ones(classes)))


def test_images_1000_of_1005_in_10_classes() -> None:
    labels = np.arange(1005) % 10
    sample = from_arrays("pictures", np.zeros((1005, 4, 4), np.uint8), labels).sample(1000, seed=0)
    assert sample.labels is not None
    assert len(np.unique(sample.numbers)) == len(sample) == 1000
    assert set(np.bincount(sample.labels)) <= {99, 100, 101}
    assert np.array_equal(sample.labels, labels[sample.numbers])


def test_images_1000_with_a_class_of_one() -> None:
    labels = np.array([0] * 1500 + [1] * 500 + [2])
    drawn = np.bincount(labels[draw(labels, 1000, seed=0)], minlength=3)
    assert drawn.sum() == 1000
    assert np.abs(drawn - 1000 * np.array([1500, 500, 1]) / 2001).max() < 1


def test_images_5_of_10_classes() -> None:
    labels = np.repeat(np.arange(10), 50)
    assert np.bincount(labels[draw(labels, 5, seed=0)], minlength=10).max() == 1


def test_every_share_is_within_one_image_and_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    for seed in range(200):
        labels = some_labels(rng)
        count = int(rng.integers(1, len(labels)))
        places = draw(labels, count, seed)
        assert len(np.unique(places)) == count
        assert places.tolist() == sorted(places.tolist()) == draw(labels, count, seed).tolist()
        sizes = np.bincount(labels)
        assert np.abs(np.bincount(labels[places], minlength=len(sizes)) - count * sizes / sizes.sum()).max() < 1


def test_draws_are_those_of_scikit_learn_where_it_draws() -> None:
    rng, same = np.random.default_rng(1), 0
    for seed in range(200):
        labels = some_labels(rng)
        count = int(rng.integers(1, len(labels)))
        try:
            theirs, _ = train_test_split(range(len(labels)), train_size=count, random_state=seed, stratify=labels)
        except ValueError:
            continue
        assert draw(labels, count, seed).tolist() == sorted(theirs)
        same += 1
    assert same > 100


@pytest.mark.parametrize("size", [3, 0.01, 995])
def test_set_data_validation_to_fewer_than_classes(size: int | float) -> None:
    labels = torch.arange(1000) % 10
    rest, taken = split(Examples(torch.zeros(1000, 1, 1, 1), labels), size, 0, "data.validation")
    assert (len(rest), len(taken)) == ((990, 10) if size == 0.01 else (1000 - size, size))
