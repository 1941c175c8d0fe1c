"""What Ray costs: forward passes on its workers against those of this process, and tasks that do nothing."""

import time
from collections.abc import Iterator
from statistics import median

import torch

from shiftlab.config.params import Evaluation
from shiftlab.data.dataset import numbered
from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.distributed.executor import ray_executor
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.inference import Executor
from shiftlab.shifts.predictions import PredictionMetadata
from shiftlab.shifts.protocol import predict_evaluation

GREY, CLASSES = (1, 28, 28), 10
NAME = "resnet"
IMAGES, SMALL = 5_000, 500
TASKS, FEW = 2_000, 200


def nothing() -> None:
    """What an empty task does."""


def first_weights() -> Classifier:
    """Return a ResNet-18 with its first weights."""
    torch.manual_seed(0)
    return fuse(architectures.build(NAME, GREY, CLASSES).eval(), GREY)


def predict(count: int, execute: Executor) -> float:
    """Return the seconds that predictions of so many images of noise take."""
    images = torch.randint(0, 256, (count, *GREY), dtype=torch.uint8)
    about = PredictionMetadata("benchmark", str(count), numbered(CLASSES), "", GREY, False, "zero", 0, 0)
    values = {"radius": 5, "boundaries": ["zero"], "images": "all", "shifts": 16, "phase": 1, "seed": 0}
    labels = torch.arange(count).remainder(CLASSES).numpy()
    begun = time.perf_counter()
    predict_evaluation(inference.InMemory(images, GREY[1:]), labels, about, Evaluation.model_validate(values), execute)
    return time.perf_counter() - begun


def here(count: int) -> float:
    """Return the seconds that predictions take in this process, with one thread."""
    torch.set_num_threads(1)
    return predict(count, inference.local(first_weights()))


def there(count: int, workers: int) -> float:
    """Return the seconds that they take on so many workers with a core each, which have started."""
    with ray_executor(engine.LOCAL, first_weights, torch.device("cpu"), 1, "portable", workers) as execute:
        predict(4 * workers * inference.MOST_IN_TASK, execute)
        return predict(count, execute)


def empty(count: int) -> float:
    """Milliseconds a task that does nothing takes, of so many."""
    with engine.connected(engine.LOCAL, 2):
        list(engine.results(nothing, [(f"warm {number}", ()) for number in range(20)], Resources()))
        begun = time.perf_counter()
        list(engine.results(nothing, [(str(number), ()) for number in range(count)], Resources()))
        return 1000 * (time.perf_counter() - begun) / count


def lines(quick: bool) -> Iterator[tuple[str, str, list[float], str]]:
    """What, in words; the absolute metrics; values by round; the goal."""
    rounds = 2 if quick else 3
    count = SMALL if quick else IMAGES
    one, two, alone = [], [], []
    for _ in range(rounds):
        alone.append(here(count))
        one.append(there(count, 1))
        two.append(there(count, 2))
    words = f"{median(one):.1f} s on one worker, {median(alone):.1f} s without Ray"
    slower = [100 * (worker / process - 1) for worker, process in zip(one, alone, strict=True)]
    yield "a prediction on one worker of Ray, slower than without it, in %", words, slower, "at most 5"
    faster = [single / double for single, double in zip(one, two, strict=True)]
    yield "two workers with a core each, in one worker's speed", f"{median(two):.1f} s", faster, "at least 1.9"
    tasks = FEW if quick else TASKS
    yield f"a task of Ray's that does nothing, of {tasks:,}, in ms", "", [empty(tasks) for _ in range(rounds)], ""


if __name__ == "__main__":
    for what, words, values, goal in lines(False):
        print(f"{what}: {median(values):.3g} ({min(values):.3g} to {max(values):.3g}); {words}; {goal}", flush=True)
