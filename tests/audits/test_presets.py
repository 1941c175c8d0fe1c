"""Each preset's number, against a second implementation written down from the paper's description alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import shiftlab
from shiftlab.audits.audit import Audit
from shiftlab.errors import UserError

RNG = np.random.default_rng(0)
SIZE, COUNT, CLASSES = 40, 300, 4  # more than one batch of images that share a draw
IMAGES = RNG.integers(0, 256, (COUNT, 3, SIZE + 32, SIZE + 32), dtype=np.uint8)
LABELS = RNG.integers(0, CLASSES, COUNT)
SEED = [3, *b"published"]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9 * 9, CLASSES)).eval()


def asked(model: nn.Module, published: str, **otherwise: Any) -> Audit:
    given: dict[str, Any] = {
        "boundaries": ["zero"],
        "radius": 2,
        "shifts": "all",
        "count": "all",
        "seed": 3,
        "white": 255,
    }
    given |= {"mean": [0], "std": [255], "channels": "rgb", "frame": (SIZE, SIZE), "any_accuracy": True}
    return shiftlab.audit(model, IMAGES, LABELS, published=published, **{**given, **otherwise})


def called(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    found: np.ndarray = scores(model, pixels).argmax(1)
    return found


def scores(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = model(torch.from_numpy(np.ascontiguousarray(pixels).astype(np.float32) / 255)).numpy()
    return found


MIDDLE = IMAGES[:, :, 16:-16, 16:-16]


def test_zhang2019(model: nn.Module) -> None:
    rng = np.random.default_rng(SEED)
    agree, of_right = [], []
    for _ in range(5):
        for batch in (slice(0, 256), slice(256, COUNT)):
            (y0, x0), (y1, x1) = rng.integers(32, size=(2, 2))
            first = called(model, IMAGES[batch][:, :, y0 : y0 + SIZE, x0 : x0 + SIZE])
            second = called(model, IMAGES[batch][:, :, y1 : y1 + SIZE, x1 : x1 + SIZE])
            agree += (first == second).tolist()
            either = (first == LABELS[batch]) | (second == LABELS[batch])
            of_right += (first == second)[either].tolist()
    found = asked(model, "zhang2019").published
    assert found["consistency of two crops"].value == pytest.approx(np.mean(agree))
    assert found["the same, of images right in one crop at least"].value == pytest.approx(np.mean(of_right))
    assert found["consistency of two crops"].images == COUNT


def test_chaman2021(model: nn.Module) -> None:
    rng = np.random.default_rng(SEED)
    agree = []
    for batch in (slice(0, 256), slice(256, COUNT)):
        (dx0, dy0), (dx1, dy1) = rng.integers(-3, 3, size=(2, 2))
        first = called(model, np.roll(MIDDLE[batch], (dy0, dx0), (2, 3)))
        second = called(model, np.roll(MIDDLE[batch], (dy1, dx1), (2, 3)))
        agree += (first == second).tolist()
    found = asked(model, "chaman2021").published
    assert found["consistency of two circular shifts"].value == pytest.approx(np.mean(agree))


def moved(images: np.ndarray, dx: int, dy: int) -> np.ndarray:
    shifted = np.zeros_like(images)
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    inside = (ys - dy >= 0) & (ys - dy < SIZE) & (xs - dx >= 0) & (xs - dx < SIZE)
    shifted[..., ys[inside], xs[inside]] = images[..., ys[inside] - dy, xs[inside] - dx]
    return shifted


def test_mnist_c(model: nn.Module) -> None:
    rng = np.random.default_rng(SEED)
    accuracies = []
    for severity in range(1, 6):
        signs = rng.choice([-severity, severity], (COUNT, 2))
        images = np.concatenate([moved(MIDDLE[[at]], *signs[at].tolist()) for at in range(COUNT)])
        accuracies.append((called(model, images) == LABELS).mean())
    audit = asked(model, "mnist-c")
    assert "accuracy, translate severity 1" in audit.table()
    found = audit.published
    values = [one.value for one in found.values()]
    assert values == pytest.approx([*accuracies, np.mean(accuracies)])
    with pytest.raises(UserError, match="need labels"):
        shiftlab.audit(
            *(model, MIDDLE), published="mnist-c", mean=[0], std=[1], channels="rgb", radius=2, boundaries=["zero"]
        )


def test_kauderer2017(model: nn.Module) -> None:
    unshifted = scores(model, MIDDLE)
    first, second = np.random.default_rng(SEED).integers(COUNT, size=(2, 10_000))
    apart = [
        np.linalg.norm(unshifted[a] - unshifted[b])
        for a, b in zip(first, second, strict=True)
        if LABELS[a] != LABELS[b]
    ]
    unit = np.median(apart)
    distances = {
        (dx, dy): np.linalg.norm(scores(model, moved(MIDDLE, dx, dy)) - unshifted, axis=1) / unit
        for dx in range(-5, 6)
        for dy in range(-5, 6)
        if (dx, dy) != (0, 0)
    }
    audit = asked(model, "kauderer2017")
    assert "sensitivity, mean up to 5 px" in audit.table()
    found = audit.published
    assert found["sensitivity, mean up to 5 px"].value == pytest.approx(np.mean(list(distances.values())), rel=1e-5)
    ends = [distances[place] for place in ((5, 0), (-5, 0), (0, 5), (0, -5))]
    assert found["sensitivity, 5 px along an axis"].value == pytest.approx(np.mean(ends), rel=1e-5)


def test_images_too_small_for_a_protocol_are_refused(model: nn.Module) -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    with pytest.raises(UserError, match="has 72x72 pixels, too few to cut 74x74 from"):
        asked(pooled, "zhang2019", frame=(SIZE + 2, SIZE + 2))
    with pytest.raises(UserError, match="--protocol is 'mine': choose of zhang2019"):
        asked(model, "mine")
