import numpy as np
import torch

from shiftlab.data.canvas import place_on_canvas
from tests.helpers import examples


def test_images_lie_in_the_middle() -> None:
    placed = place_on_canvas(examples(5), 48)
    assert placed.images.shape == (5, 1, 48, 48)
    assert placed.images.dtype == torch.uint8
    assert torch.equal(placed.images[..., 10:38, 10:38], examples(5).images)
    assert placed.images.sum() == examples(5).images.sum()
    assert torch.equal(placed.labels, examples(5).labels)


def test_canvas_of_the_images_size_changes_nothing() -> None:
    assert torch.equal(place_on_canvas(examples(5), 28).images, examples(5).images)


def test_random_places_lose_no_ink_and_reach_every_edge() -> None:
    few = examples(400)
    placed = place_on_canvas(few, 48, np.random.default_rng(0))
    assert torch.equal(placed.images.sum((1, 2, 3)), few.images.sum((1, 2, 3)))
    places = set()
    for image, moved in zip(few.images, placed.images, strict=True):
        top, left = (int(moved[0].sum(axis).nonzero()[0] - image[0].sum(axis).nonzero()[0]) for axis in (1, 0))
        assert torch.equal(moved[:, top : top + 28, left : left + 28], image)
        places |= {("top", top), ("left", left)}
    assert places == {(side, offset) for side in ("top", "left") for offset in range(21)}


def test_random_places_follow_their_generator() -> None:
    first, again, other = (place_on_canvas(examples(9), 48, np.random.default_rng(seed)).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
