"""What `bench.py` times, each in a process whose kernels are prepared before PyTorch is imported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiftlab import determinism

if TYPE_CHECKING:
    from shiftlab.data.dataset import Examples

THREADS = 2
GREY, CLASSES = (1, 28, 28), 10  # channels, height, width
TRAINED = {"mlp": 12_800, "lenet": 9_600, "resnet": 1_280, "invariant": 1_280}  # images
EVALUATED = {"mlp": 10_000, "lenet": 10_000, "resnet": 2_000, "invariant": 2_000}
SIDE = 2048  # of the square matrices whose product tells what the processor can do
PICTURES, RADIUS = 10, 3  # of the audit: images, and pixels


def train(model: str, ordinary: bool) -> float:
    """Train for an epoch by the notebook's recipe; return the images a second."""
    import peer
    import torch

    from shiftlab.config.params import Training
    from shiftlab.data.dataset import Dataset, numbered
    from shiftlab.models import architectures
    from shiftlab.training import loop

    _set_up()
    images = _draw(TRAINED[model])
    if ordinary:
        network, batches = peer.network(model), peer.loader(model, images)
        return len(images) / _seconds(lambda: peer.train(network, batches, 0.001))
    few = replace(images, images=images.images[:64], labels=images.labels[:64])
    data = Dataset(images, few, few, numbered(CLASSES), GREY[1:])
    settings = Training(lr=0.001, batch_size=peer.BATCH_SIZE, epochs=1)
    network = architectures.build(model, GREY, CLASSES)
    return len(images) / _seconds(lambda: list(loop.fit(network, data, "notebook", settings, torch.device("cpu"))))


def evaluate(model: str, ordinary: bool) -> float:
    """Predict shifted images; return how many a second."""
    import peer
    import torch

    from shiftlab.config.params import Evaluation
    from shiftlab.data.dataset import numbered
    from shiftlab.models import architectures
    from shiftlab.networks.fast import fuse
    from shiftlab.shifts import grids, inference
    from shiftlab.shifts.predictions import PredictionMetadata
    from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation

    _set_up()
    torch.manual_seed(0)
    test = _draw(EVALUATED[model] // 10)
    if ordinary:
        few = replace(test, images=test.images[:100], labels=test.labels[:100])
        network, shifts = peer.network(model), grids.grid(1).tolist()
        return len(few) * len(shifts) / _seconds(lambda: peer.probabilities(model, network, few, shifts))
    evaluation = Evaluation(radius=1, boundaries=["zero"], images="all", shifts="all", phase=1, seed=0)
    metadata = PredictionMetadata("benchmark", "", numbered(CLASSES), "", GREY, False, "zero", 0, 0)
    classifier = fuse(architectures.build(model, GREY, CLASSES).eval(), GREY)
    images, labels = inference.InMemory(test.images, GREY[1:]), test.labels.numpy()
    passes = plan_evaluation(len(test), labels, "zero", GREY, evaluation).passes(len(test))
    execute = inference.local(classifier)
    return passes / _seconds(lambda: predict_evaluation(images, labels, metadata, evaluation, execute))


def multiply_adds(model: str) -> float:
    """Return those of one image."""
    import torch

    from shiftlab.models import architectures
    from shiftlab.networks import cost

    network = architectures.build(model, GREY, CLASSES).eval()
    return cost.count(network, torch.zeros(GREY, dtype=torch.uint8))[1]


def peak() -> float:
    """Return the multiply-adds a second of a product of large matrices."""
    import torch

    _set_up()
    first, second = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    return SIDE**3 / _seconds(lambda: first @ second)


def audit() -> tuple[float, int]:
    """Audit timm's ResNet-18; return the seconds it takes, and how many images the network classifies."""
    import torch

    import shiftlab
    from shiftlab.audits import adapters
    from shiftlab.audits.adapters import ModelOptions

    _set_up()
    torch.manual_seed(0)
    images = torch.randint(0, 256, (PICTURES, 3, 256, 256), dtype=torch.uint8)
    labels = torch.arange(PICTURES) % CLASSES
    network = adapters.load("timm:resnet18", ModelOptions(outputs=CLASSES)).module
    assert network is not None
    counted = 0

    def count(_: object, inputs: tuple[torch.Tensor], __: object) -> None:
        nonlocal counted
        counted += len(inputs[0])

    hook = network.register_forward_hook(count)
    settings: dict[str, Any] = {"boundaries": ["crop"], "radius": RADIUS, "frame": (224, 224), "any_accuracy": True}
    settings |= {"channels": "rgb", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    audited = _seconds(lambda: shiftlab.audit(network.eval(), images, labels, **settings))
    hook.remove()
    return audited, counted


def bare(count: int) -> float:
    """Return the seconds that timm's ResNet-18 takes for so many images, in a process that nothing has prepared."""
    import timm
    import torch

    torch.manual_seed(0)
    network, images = timm.create_model("resnet18", num_classes=CLASSES).eval(), torch.rand(32, 3, 224, 224)
    batches = count // len(images)

    def forward() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                network(images)

    return _seconds(forward) * count / (batches * len(images))


def _set_up() -> None:
    import torch

    torch.set_num_threads(THREADS)
    determinism.pick_device("cpu")


def _draw(count: int) -> Examples:
    import torch

    from shiftlab.data.dataset import Examples

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *GREY), dtype=torch.uint8, generator=generator)
    return Examples(images, torch.arange(count) % CLASSES)


def _seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
