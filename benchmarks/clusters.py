"""What Ray costs: forward passes on its workers against those of this process, and tasks that do nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from shiftlab import determinism, files
from shiftlab.config.params import Evaluation
from shiftlab.data.dataset import Examples, numbered
from shiftlab.distributed import engine, shards
from shiftlab.distributed.engine import Resources
from shiftlab.models import architectures, weights
from shiftlab.models.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.predictions import PredictionMetadata

GREY, CLASSES = (1, 28, 28), 10
NAME = "resnet"
IMAGES, SMALL = 1_000, 60
TASKS, FEW = 2_000, 200


def nothing() -> None:
    """What an empty task does."""


def question(count: int) -> shards.Question:
    """Of a ResNet-18 with its first weights, on noise."""
    torch.manual_seed(0)
    model = architectures.build(NAME, GREY, CLASSES).eval()
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        weights.save(model.state_dict(), NAME, path)
        digest, content = files.md5(path), np.fromfile(path, np.uint8)
    images = torch.randint(0, 256, (count, *GREY), dtype=torch.uint8).numpy()
    about = PredictionMetadata("benchmark", str(count), numbered(CLASSES), digest, GREY, False, "zero", 0, 0)
    values = {"radius": 5, "boundaries": ["zero"], "images": "all", "shifts": 16, "phase": 1, "seed": 0}
    labels = torch.arange(count).remainder(CLASSES).numpy()
    return shards.Question(
        NAME, content, images, labels, about, Evaluation.model_validate(values), "cpu", 1, "portable"
    )


def here(asked: shards.Question) -> float:
    """Seconds that the answers take in this process, with one thread."""
    determinism.use(asked.threads)
    torch.manual_seed(0)
    model = fuse(architectures.build(NAME, GREY, CLASSES).eval(), GREY)
    test = Examples(torch.from_numpy(asked.images), torch.from_numpy(asked.labels))
    begun = time.perf_counter()
    inference.predict(model, test, asked.wanted, asked.about, inference.Nowhere())
    return time.perf_counter() - begun


def there(asked: shards.Question, workers: int) -> float:
    """Seconds that they take on so many workers with a core each, from the first task to the last."""
    plan = shards.plan(asked)
    with engine.connected(engine.HERE, workers):
        shared = engine.Shared(asked)
        # Workers that have started, and made ready: once in a prediction, however long it is.
        few = engine.Shared(question(1))
        names = list(shards.plan(question(1)).parts)[: 4 * workers]
        list(engine.results(shards.compute, [(name, (few, name)) for name in names], Resources()))
        begun = time.perf_counter()
        tasks = [(name, (shared, name)) for name in plan.parts]
        found = dict(engine.results(shards.compute, tasks, Resources()))
        plan.assembled(found)
        return time.perf_counter() - begun


def empty(count: int) -> float:
    """Milliseconds a task that does nothing takes, of so many."""
    with engine.connected(engine.HERE, 2):
        list(engine.results(nothing, [(f"warm {number}", ()) for number in range(20)], Resources()))
        begun = time.perf_counter()
        list(engine.results(nothing, [(str(number), ()) for number in range(count)], Resources()))
        return 1000 * (time.perf_counter() - begun) / count


def lines(quick: bool) -> Iterator[tuple[str, str, list[float], str]]:
    """What, in words; the absolute metrics; values by round; the goal."""
    rounds = 2 if quick else 3
    asked = question(SMALL if quick else IMAGES)
    one, two, alone = [], [], []
    for _ in range(rounds):
        alone.append(here(asked))
        one.append(there(asked, 1))
        two.append(there(asked, 2))
    words = f"{median(one):.1f} s on one worker, {median(alone):.1f} s without Ray"
    slower = [100 * (worker / process - 1) for worker, process in zip(one, alone, strict=True)]
    yield "a prediction on one worker of Ray, slower than without it, in %", words, slower, "at most 5"
    faster = [single / double for single, double in zip(one, two, strict=True)]
    yield "two workers with a core each, in one worker's speed", f"{median(two):.1f} s", faster, "at least 1.9"
    count = FEW if quick else TASKS
    yield f"a task of Ray's that does nothing, of {count:,}, in ms", "", [empty(count) for _ in range(rounds)], ""


if __name__ == "__main__":
    for what, words, values, goal in lines(False):
        print(f"{what}: {median(values):.3g} ({min(values):.3g} to {max(values):.3g}); {words}; {goal}", flush=True)
