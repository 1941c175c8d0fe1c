"""Hold shiftlab against the ordinary way, in turn, and write the ratios down.

Peer and product run one after the other in every round, in one process, so that both meet the same machine. A ratio is
the median of the rounds', with the smallest and the largest.
"""

import contextlib
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import peer
import psutil
import torch
from PIL import Image
from ruamel.yaml import YAML
from torch import nn
from torchvision.transforms import ToTensor

from shiftlab import determinism, files
from shiftlab.config import params
from shiftlab.config.params import Augmentation, Params, RecipeName, Training
from shiftlab.data import dataset as data
from shiftlab.data.dataset import Dataset, Examples, numbered
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks import cost
from shiftlab.networks.fast import fuse
from shiftlab.shifts import boundaries, grids, inference, transform
from shiftlab.shifts.predictions import PredictionMetadata
from shiftlab.shifts.protocol import plan_evaluation, predict_evaluation
from shiftlab.training import loop
from shiftlab.training.augmentation import NONE, Augmented

ROOT = Path(__file__).parents[1]
NAMES = ("mlp", "lenet", "resnet")
BUSY = 10  # percent of the processor, taken by others before we begin: above it the metrics are not to be trusted
CPU = torch.device("cpu")
GREY = (1, 28, 28)  # channels, height, width
ABOUT = PredictionMetadata(
    "benchmark", "", numbered(10), "", GREY, canvas=False, boundary="zero", parameters=0, multiply_adds=0
)
SIDE = 2048  # of the square matrices whose product tells the processor's peak


class Size(NamedTuple):
    """How much is done in a round."""

    rounds: int
    assembled: int  # images
    trained: dict[str, int]  # images
    shifted: int  # images
    evaluated: dict[str, int]  # images, each at every shift of the peer's nine


FULL = Size(
    7, 20_000, {"mlp": 25_600, "lenet": 19_200, "resnet": 2_560}, 5_000, {"mlp": 500, "lenet": 500, "resnet": 250}
)
QUICK = Size(3, 5_000, {"mlp": 6_400, "lenet": 6_400, "resnet": 640}, 1_000, {"mlp": 250, "lenet": 250, "resnet": 100})


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    peer: str
    product: str
    ratios: list[float]
    goal: str

    def cells(self) -> list[str]:
        """As the table has them."""
        low, middle, high = min(self.ratios), median(self.ratios), max(self.ratios)
        return [self.what, self.peer, self.product, f"**{middle:.3g}** ({low:.3g} to {high:.3g})", self.goal]


HEADER = ["what", "the ordinary way", "shiftlab", "ratio", "goal"]


def measure(quick: bool) -> None:
    """All of it, printed and saved."""
    size = QUICK if quick else FULL
    os.chdir(ROOT)
    others = psutil.cpu_percent(interval=3)
    if others > BUSY:
        print(f"Others take {others:.0f}% of this machine's processor: don't trust the metrics.\n", file=sys.stderr)
    wanted = params.load()
    torch.set_num_threads(wanted.threads)
    # Before there is much in this process: Linux counts a child's memory from its parent's on.
    peaks = [memory(name) for name in NAMES]
    dataset = data.load(data.path(wanted.data.name))
    measured = []
    for line in chain(
        lines(dataset, size), neighbours(size), peaks, of_audits(quick), of_pages(quick), of_clusters(quick)
    ):
        print(f"{line.what}: {line.cells()[3]}", flush=True)
        measured.append(line)
    text = report(measured, wanted, others, size)
    files.write(Path("benchmarks", "quick.md" if quick else "results.md"), text)
    print(f"\n{text}")


def lines(dataset: Dataset, size: Size) -> Iterator[Line]:
    """The lines of what is done in this process, as they are done."""
    images = len(dataset.train)
    yield assembly(dataset.train, size)
    spent = {name: train(name, dataset, size) for name in NAMES}
    for name, goal in (("mlp", "5"), ("lenet", "2.5"), ("resnet", "1.7")):
        yield compared(f"training, notebook's recipe: {name}", "images", spent[name].peer, spent[name].notebook, goal)
    yield all_trainings(spent, images)
    for name, goal in (("mlp", ""), ("lenet", ""), ("resnet", "at least 70")):
        yield share_of_peak(f"training: {name}", name, 3, spent[name].notebook, spent[name].peak, goal)
    yield shifted_batch(dataset.test, size)
    for name, goal in (("mlp", "15"), ("lenet", "4"), ("resnet", "1.3")):
        line, evaluated, peak = evaluation(name, dataset.test, size, goal)
        yield line
        yield share_of_peak(f"evaluation: {name}", name, 1, evaluated, peak, "")
    yield moved(dataset.train, spent["mlp"], size)
    yield recorded(spent["mlp"], images, size)
    yield from nothing_to_do(size)


def in_turn(size: Size, *works: Callable[[], object], counts: Sequence[int] | None = None) -> list[list[float]]:
    """Seconds that each of `works` takes for one of its `counts` in every round, after a round that does not count."""
    rounds = [[seconds(work) for work in works] for _ in range(size.rounds + 1)][1:]
    counts = counts or [1] * len(works)
    return [[spent / count for spent in times] for times, count in zip(zip(*rounds, strict=True), counts, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compared(what: str, unit: str, theirs: list[float], ours: list[float], goal: str) -> Line:
    """A line whose ratio is of the numbers done in a second, from the seconds that one takes in each round."""
    peer_rate, own_rate = (f"{1 / median(spent):,.0f} {unit}/s" for spent in (theirs, ours))
    return Line(what, peer_rate, own_rate, [one / other for one, other in zip(theirs, ours, strict=True)], goal)


def assembly(train: Examples, size: Size) -> Line:
    """Batches of 64 normalised images, in a shuffled order."""
    few = first(train, size.assembled)
    batches = peer.loader("lenet", few)

    def ours() -> None:
        order = torch.randperm(len(few))
        for pixels in few.images.index_select(0, order).split(peer.BATCH_SIZE):
            (pixels.unsqueeze(1).to(torch.float32) / 255 - 0.1307) / 0.3081

    theirs, spent = in_turn(size, lambda: [None for _ in batches], ours, counts=[len(few)] * 2)
    return compared("batches, same pixels", "images", theirs, spent, "80")


class Spent(NamedTuple):
    """Seconds of training for an image, in every round."""

    peer: list[float]
    notebook: list[float]  # ours, with the same recipe
    fast: list[float]  # ours
    peak: list[float]  # of a multiply-add in a large product of matrices


def train(name: str, dataset: Dataset, size: Size) -> Spent:
    """One epoch each, in turn."""
    few = replace(dataset, train=first(dataset.train, size.trained[name]), validation=first(dataset.validation, 64))
    batches, plain, recipes = peer.loader(name, few.train), peer.network(name), settings(name)

    def ours(recipe: RecipeName) -> Callable[[], object]:
        model, one = architectures.build(name, GREY, 10), recipes[recipe].model_copy(update={"epochs": 1})
        return lambda: list(loop.fit(model, few, one.recipe or recipe, one, CPU))

    theirs = partial(peer.train, plain, batches, recipes["notebook"].lr)
    counts = [*[len(few.train)] * 3, SIDE**3]
    return Spent(*in_turn(size, theirs, ours("notebook"), ours("fast"), large_product(), counts=counts))


def large_product() -> Callable[[], object]:
    """A product of matrices that are large enough for the processor to be the limit."""
    first, second = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    return lambda: first @ second


def share_of_peak(what: str, name: str, passes: int, spent: list[float], peak: list[float], goal: str) -> Line:
    """What part of the products that the processor could do in the time a model needs.

    Args:
        passes: over the network for an image; its gradient takes two more than its answer.
        spent: seconds for an image, in every round.
        peak: seconds for a multiply-add, in every round.
    """
    _, products = cost.count(architectures.build(name, GREY, 10).eval(), torch.zeros(GREY, dtype=torch.uint8))
    needed = [passes * products * each for each in peak]
    return Line(
        f"share of the processor's peak, {what}, in %",
        "",
        f"of {2e-9 / median(peak):.0f} GFLOP/s",
        [100 * ideal / taken for ideal, taken in zip(needed, spent, strict=True)],
        goal,
    )


def all_trainings(spent: Mapping[str, Spent], images: int) -> Line:
    """All epochs of the three models on so many images: the peer's with the notebook's recipe, ours with `fast`."""
    epochs = {name: settings(name) for name in NAMES}
    rounds = range(len(spent["mlp"].peer))
    theirs = [sum(images * epochs[name]["notebook"].epochs * spent[name].peer[at] for name in NAMES) for at in rounds]
    ours = [sum(images * epochs[name]["fast"].epochs * spent[name].fast[at] for name in NAMES) for at in rounds]
    return Line(
        "all three trainings, ours with the recipe fast; computed from images/s",
        f"{median(theirs) / 60:.1f} min",
        f"{median(ours) / 60:.1f} min",
        [one / other for one, other in zip(theirs, ours, strict=True)],
        "25",
    )


def moved(train: Examples, spent: Spent, size: Size) -> Line:
    """What moving the training images by up to 5 pixels adds to the MLP's training, the shortest for an image."""
    few = first(train, size.trained["mlp"])
    still, moving = (Augmented(few, (28, 28), one) for one in (NONE, Augmentation(kind="shifts", pixels=5)))
    without, with_it = in_turn(size, still.shuffled, moving.shuffled, counts=[len(few)] * 2)
    added = [more - less for more, less in zip(with_it, without, strict=True)]
    return Line(
        "moving training images, of the time an image is trained on (mlp, notebook's recipe), in %",
        "",
        f"{1e9 * median(added):.0f} ns of {1e6 * median(spent.notebook):.1f} us",
        [100 * more / whole for more, whole in zip(added, spent.notebook, strict=True)],
        "at most 10",
    )


def shifted_batch(test: Examples, size: Size) -> Line:
    """The images moved 5 pixels to the right; ours along a line, as the predict stage moves them, each batch a copy."""
    few = first(test, size.shifted)
    pictures = [Image.fromarray(image[0].numpy(), mode="L") for image in few.images]
    to_tensor = ToTensor()
    steps = range(-14, 15)

    def ours() -> None:
        padded = boundaries.get("zero").pad(few.images, 14)
        for dx in steps:
            transform.crop_at(padded, 14, dx, 0).contiguous()

    theirs, spent = in_turn(
        size,
        lambda: torch.stack([to_tensor(peer.shifted(picture, 5, 0)) for picture in pictures]),
        ours,
        counts=[len(few), len(few) * len(steps)],
    )
    return compared("a shifted batch", "images", theirs, spent, "200")


def evaluation(name: str, test: Examples, size: Size, goal: str) -> tuple[Line, list[float], list[float]]:
    """Shifted test sets: the peer at nine shifts, ours as the predict stage does it.

    Returns:
        The line; seconds for one of our images, and for a multiply-add at the processor's peak, in every round.
    """
    few, more = first(test, size.evaluated[name]), first(test, 1000)
    some = grids.grid(1)
    plain, model = peer.network(name), fuse(architectures.build(name, GREY, 10).eval(), GREY)
    wanted = params.Evaluation(radius=1, boundaries=["zero"], images="all", shifts="all", phase=1, seed=0)
    theirs, spent, peak = in_turn(
        size,
        lambda: peer.probabilities(name, plain, few, some.tolist()),
        lambda: predicted(model, more, wanted),
        large_product(),
        counts=[len(few) * len(some), passes(wanted, more), SIDE**3],
    )
    return compared(f"evaluation, each image at each shift: {name}", "images", theirs, spent, goal), spent, peak


def predicted(
    model: nn.Module, test: Examples, evaluation: params.Evaluation, on_progress: inference.Progress = lambda _: None
) -> None:
    """Predict as the predict stage does."""
    images = inference.InMemory(test.images, GREY[1:])
    execute = inference.local(model)
    predict_evaluation(images, test.labels.numpy(), ABOUT, evaluation, execute, on_progress=on_progress)


def passes(evaluation: params.Evaluation, test: Examples) -> int:
    """Return how many images that predicts."""
    return plan_evaluation(len(test), test.labels.numpy(), "zero", GREY, evaluation).passes(len(test))


def recorded(spent: Spent, images: int, size: Size) -> Line:
    """What MLflow adds to the shortest of the notebook's trainings: a run, each epoch's metrics, a registered model."""
    # Here, since the processes that `memory` measures import this file.
    from shiftlab.tracking import recording, runs
    from shiftlab.tracking.store import connect

    epochs = settings("mlp")["notebook"].epochs
    one = runs.Identity("benchmark", "0" * 32, "mlp", 0, GREY, numbered(10))
    columns = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    history = [{"epoch": epoch, **dict.fromkeys(columns, 0.5)} for epoch in range(epochs)]
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"DVC_ROOT": folder}):
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # a user's own server gets no runs of ours
        store = connect("benchmark")
        weights = Path(folder, "weights")

        def run() -> None:
            weights.write_bytes(os.urandom(2_000_000))  # a model's are known by their digest, and registered once
            with runs.training(store, one, {}, {}) as run:
                for epoch in history:
                    recording.log_epochs(run, [epoch])
                recording.log_weights(run, one, weights, history)

        (tracked,) = in_turn(size, run)
    trained = [epochs * images * each for each in spent.notebook]
    return Line(
        "MLflow's share of the shortest training (mlp, notebook's recipe), in %",
        "",
        f"{1000 * median(tracked):.0f} ms beside {median(trained):.1f} s",
        [100 * one / (one + other) for one, other in zip(tracked, trained, strict=True)],
        "at most 2",
    )


def nothing_to_do(size: Size) -> Iterator[Line]:
    """`dvc repro` where all is done, against `dvc --version`; no line where not all is."""

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    if "up to date" not in dvc("status"):
        print("The pipeline is not up to date, so `dvc repro` is not measured: run it first.", file=sys.stderr)
        return
    version, repro = in_turn(size, lambda: dvc("--version"), lambda: dvc("repro"))
    yield Line(
        "`dvc repro` with nothing to do, in `dvc --version`s",
        f"{median(version):.2f} s",
        f"{median(repro):.2f} s",
        [one / other for one, other in zip(repro, version, strict=True)],
        "at most 6",
    )


def neighbours(size: Size) -> Iterator[Line]:
    """Trainings that share the processor: two at once, and one beside a process that takes a core."""
    for name in NAMES:
        images = size.trained[name] // 2
        alone, together, beside = [], [], []
        for _ in range(size.rounds):
            alone.append(images / _together([(name, 2, images)]))
            together.append(2 * images / _together([(name, 1, images)] * 2))
            beside.append(images / _together([(name, 2, images)], busy=True))
        ratios = [one / other for one, other in zip(together, alone, strict=True)]
        rates = f"{median(alone):,.0f} images/s", f"{median(together):,.0f} images/s"
        what = f"two trainings at once, a thread each, against one after the other: {name}"
        yield Line(what, *rates, ratios, "1")
        ratios = [one / other for one, other in zip(beside, alone, strict=True)]
        rates = f"{median(alone):,.0f} images/s alone", f"{median(beside):,.0f} images/s"
        yield Line(f"a training beside a busy neighbour, against alone: {name}", *rates, ratios, "")


def _together(trainings: Sequence[tuple[str, int, int]], busy: bool = False) -> float:
    """Seconds until all trainings, begun at once in processes of their own, are done."""
    context = multiprocessing.get_context("spawn")
    start, ready = context.Event(), context.Semaphore(0)
    results: multiprocessing.Queue[float] = context.Queue()
    workers = [context.Process(target=_train_when_told, args=(*one, ready, start, results)) for one in trainings]
    neighbour = context.Process(target=_keep_busy, daemon=True)
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    if busy:
        neighbour.start()
    start.set()
    spent = max(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    if busy:
        neighbour.kill()
    return spent


def _train_when_told(name: str, threads: int, images: int, ready: Any, start: Any, results: Any) -> None:
    torch.set_num_threads(threads)
    whole = data.load(data.path(params.load().data.name))
    few = replace(whole, train=first(whole.train, images), validation=first(whole.validation, 64))
    one = settings(name)["notebook"].model_copy(update={"epochs": 1})
    warm = replace(few, train=first(whole.train, 256))
    list(loop.fit(architectures.build(name, GREY, 10), warm, "notebook", one, CPU))
    ready.release()
    start.wait()
    results.put(seconds(lambda: list(loop.fit(architectures.build(name, GREY, 10), few, "notebook", one, CPU))))


def _keep_busy() -> None:
    while True:
        pass


def memory(name: str) -> Line:
    """The peak of a process that trains, and then predicts, with whole data sets but stopped after some images.

    MLflow, which the train stage loads besides, is not in it.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(_peak_memory, (name,))
    return Line(f"peak memory, training and evaluation: {name}, in GiB", "", f"{peak:.2f} GiB", [peak], "at most 1.5")


ENOUGH = 5_000  # images: what comes after them takes turns in the same memory


class _EnoughError(Exception):
    pass


def _peak_memory(name: str) -> float:
    dataset = data.load(data.path(params.load().data.name))
    done = 0

    def stop(images: int, _: float = 0) -> None:
        nonlocal done
        done += images
        if done > ENOUGH:
            raise _EnoughError

    for work in (_training, _prediction):
        done = 0
        with contextlib.suppress(_EnoughError):
            work(name, dataset, stop)
    scale = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _training(name: str, dataset: Dataset, stop: Callable[[int, float], object]) -> None:
    list(
        loop.fit(architectures.build(name, GREY, 10), dataset, "notebook", settings(name)["notebook"], CPU, None, stop)
    )


def _prediction(name: str, dataset: Dataset, stop: Callable[[int], object]) -> None:
    wanted = params.load().evaluation
    model = fuse(architectures.build(name, GREY, 10).eval(), GREY)
    predicted(model, dataset.test, wanted, stop)


def of_audits(quick: bool) -> Iterator[Line]:
    """The lines of people's own models, as they are done."""
    import audits  # here, since the processes that `memory` measures import this file

    for what, measured, values, goal in audits.lines(quick):
        yield Line(what, "", measured, values, goal)


def of_clusters(quick: bool) -> Iterator[Line]:
    """What Ray costs, where it is installed."""
    try:
        import clusters  # with Ray, which not everybody has
    except UserError as error:
        print(f"left out: {error}", file=sys.stderr)
        return
    for what, measured, values, goal in clusters.lines(quick):
        yield Line(what, "", measured, values, goal)


def of_pages(quick: bool) -> Iterator[Line]:
    """The lines of what one waits for in a browser, as they are done."""
    import looking  # seconds to import, for it draws

    for what, values, goal in looking.lines(quick):
        yield Line(what, "", "", values, goal)


def first(examples: Examples, count: int) -> Examples:
    """The first `count` of them."""
    return Examples(examples.images[:count], examples.labels[:count])


def settings(name: str) -> dict[RecipeName, Training]:
    """What the recipes train a model with."""
    yaml = YAML(typ="safe")
    conf = ROOT / "conf"
    return {
        "notebook": Training(**yaml.load(conf / "model" / f"{name}.yaml")["models"][name]),
        "fast": Training(**yaml.load(conf / "recipe" / name / "fast.yaml")),
    }


def report(lines: list[Line], wanted: Params, others: float, size: Size) -> str:
    """The table in Markdown, and what it was measured on."""
    rows = [HEADER, ["---"] * len(HEADER), *(line.cells() for line in lines)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    machine = f"{determinism.name()}, {os.cpu_count()} cores, {wanted.threads} threads"
    versions = (
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    )
    return (
        f"{table}\n\nOn {machine}; {versions}; data: {wanted.data.name}; "
        f"others took {others:.0f}% of the processor before. Medians of {size.rounds} rounds (smallest to largest).\n"
    )
