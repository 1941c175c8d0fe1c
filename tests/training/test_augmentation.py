from collections import Counter

import pytest
import torch

from shiftlab.config.params import Augmentation, BoundaryName
from shiftlab.data.dataset import Examples, center_crop
from shiftlab.shifts.transform import shift
from shiftlab.training.augmentation import NONE, Augmented
from tests.helpers import coloured, examples

FRAME = (28, 28)
SHIFTS = Augmentation(kind="shifts", pixels=3)


def shuffled(augmentation: Augmentation, given: Examples, frame: tuple[int, int] = FRAME, epochs: int = 1) -> Examples:
    torch.manual_seed(7)
    augmented = Augmented(given, frame, augmentation)
    for _ in range(epochs):
        epoch = augmented.shuffled()
    return epoch


def numbered(count: int) -> Examples:
    """Examples whose labels tell which they are."""
    return Examples(examples(count).images, torch.arange(count))


def test_without_it_images_are_reordered_and_no_more() -> None:
    given = numbered(40)
    torch.manual_seed(7)
    order = torch.randperm(40)
    epoch = shuffled(NONE, given)
    assert torch.equal(epoch.labels, order)
    assert torch.equal(epoch.images, given.images[order])


@pytest.mark.parametrize(("kind", "boundary"), [("shifts", "zero"), ("crops", "crop")])
def test_each_image_is_moved_by_a_shift_within_reach(kind: str, boundary: BoundaryName) -> None:
    many = coloured(300, size=(30, 34), classes=3)
    given = Examples(many.images, torch.arange(300))
    frame = (20, 24)
    epoch = shuffled(Augmentation.model_validate({"kind": kind, "pixels": 2}), given, frame)
    found = Counter[tuple[int, int]]()
    steps = [(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)]
    moved = {step: shift(given.images, *step, boundary, frame) for step in steps}
    for image, number in zip(epoch.images, epoch.labels.tolist(), strict=True):
        (step,) = (step for step in steps if torch.equal(image, moved[step][number]))
        found[step] += 1
    assert set(found) == set(steps)  # 300 images, 25 shifts: none is missed but by a chance of 1e-4, with this seed
    assert max(found.values()) < 30


def test_seed_decides_and_epochs_differ() -> None:
    given = numbered(40)
    first, again = shuffled(SHIFTS, given), shuffled(SHIFTS, given)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, shuffled(SHIFTS, given, epochs=2).images)


def test_orders_are_those_without_it() -> None:
    given = numbered(40)
    for epochs in (1, 2, 3):
        assert torch.equal(shuffled(SHIFTS, given, epochs=epochs).labels, shuffled(NONE, given, epochs=epochs).labels)


def test_shifts_of_different_epochs_are_not_alike() -> None:
    """As they would be, were they drawn from where the next order is drawn from too."""
    torch.manual_seed(0)
    augmented = Augmented(Examples(torch.zeros(50, 1, 28, 28, dtype=torch.uint8), torch.arange(50)), FRAME, SHIFTS)
    augmented._windows[:, :, 3, 3, 14, 14] = 255  # a dot, which tells how far it has been moved
    places = [augmented.shuffled().images.flatten(1).argmax(1) for _ in range(3)]
    assert not torch.equal(places[0], places[1])
    assert not torch.equal(places[1], places[2])


def test_the_middle_is_not_moved() -> None:
    given = Examples(coloured(5, size=(30, 34)).images, torch.arange(5))
    for kind, pixels in (("none", 0), ("shifts", 3), ("crops", 2)):
        augmented = Augmented(given, (20, 24), Augmentation.model_validate({"kind": kind, "pixels": pixels}))
        assert torch.equal(augmented.middle(4).images, center_crop(given.images, (20, 24))[:4])
        assert len(augmented) == 5
