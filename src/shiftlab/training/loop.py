"""Fit a model on tensors. It knows neither files nor trackers: after every epoch it hands out all it has."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from shiftlab.config.params import Augmentation, RecipeName, Training
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.errors import UserError
from shiftlab.networks import fast
from shiftlab.training.augmentation import NONE, Augmented

INFERENCE_BATCH = 250  # images; no metric depends on it, speed and memory do
REPORT_EVERY = 20  # steps between two looks at the logits, for which an accelerator has to be waited for

Progress = Callable[[int, float], object]  # called with the images since the last call, and their mean loss


@dataclass(frozen=True)
class Recipe:
    """Adam's settings, the schedule of its learning rate over all steps of a training, and the smoothing of targets."""

    cycle: dict[str, Any] | None  # settings of OneCycleLR (Smith and Topin 2019); None: the learning rate is constant
    betas: tuple[float, float] = (0.9, 0.999)  # PyTorch's own, as is the next
    epsilon: float = 1e-8
    label_smoothing: float = 0.0  # what all classes share of a target's probability (Szegedy et al. 2016)


STRAIGHT = {"anneal_strategy": "linear", "cycle_momentum": False}
# `lr` throughout; up to it and down again, which needs fewer epochs; and two for so few epochs that the mean of the
# last thousand squared gradients would be of another network than the one that is trained.
RECIPES: dict[RecipeName, Recipe] = {
    "notebook": Recipe(cycle=None),
    "fast": Recipe(cycle={}),
    "brief": Recipe(cycle={"pct_start": 0.2}, betas=(0.9, 0.99), epsilon=1e-5),
    "smoothed": Recipe(cycle=STRAIGHT, betas=(0.9, 0.95), epsilon=1e-5, label_smoothing=0.1),
}


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images. Losses are mean cross-entropies in nats, accuracies are in 0..1.

    The training metrics are means over the epoch's batches, taken while the weights change.
    """

    epoch: int  # counted from 1
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class State:
    """All that the next epoch depends on, and the best weights so far.

    `weights` and `optimizer` share memory with the training, which changes them in the next epoch.
    """

    history: list[Epoch]
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]  # empty where the learning rate is constant
    rng: list[Tensor]  # of PyTorch's generators: the CPU's, then the accelerator's if it is used

    def to_dict(self) -> dict[str, Any]:
        """What `torch.save` writes and `torch.load(weights_only=True)` reads."""
        return {**vars(self), "history": [asdict(epoch) for epoch in self.history]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        """The inverse of `to_dict`."""
        return cls(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})


def fit(
    model: nn.Module,
    dataset: Dataset,
    recipe: RecipeName,
    params: Training,
    device: torch.device,
    state: State | None = None,
    on_progress: Progress = lambda *_: None,
    augmentation: Augmentation = NONE,
) -> Iterator[State]:
    """Train `model` in place, one epoch for each state drawn from the iterator.

    The order of the images, and how an augmentation moves them, come from PyTorch's global generator: seed it before
    building the model, and the same seed gives the same weights. The best weights are those of the highest validation
    accuracy, the earliest of equals.

    Args:
        dataset: `train` and `validation` are used, `test` is not looked at.
        state: where to go on from; what follows is the same as if nothing had come between.
        on_progress: called every few steps.
        augmentation: of the training images; those of validation stay as they are.

    Raises:
        UserError: the model can't learn from such batches; a loss is not finite.
    """
    if state is None and params.initialisation == "xavier":
        _xavier(model)
    model.to(device)
    train = Augmented(dataset.train.to(device), dataset.frame, augmentation)
    validation = dataset.validation.center_crop(dataset.frame).to(device)
    _try_smallest_batch(model, train, params.batch_size)
    settings = RECIPES[recipe]
    optimizer = fast.make_adam(model, train.middle(1).images, lr=params.lr, betas=settings.betas, eps=settings.epsilon)
    steps = math.ceil(len(train) / params.batch_size) * params.epochs
    schedule = None if settings.cycle is None else OneCycleLR(optimizer, params.lr, steps, **settings.cycle)
    history: list[Epoch] = []
    best: dict[str, Tensor] = {}
    if state is not None:
        history, best = list(state.history), state.best
        model.load_state_dict(state.weights)
        optimizer.load_state_dict(state.optimizer)
        if schedule:
            schedule.load_state_dict(state.schedule)
        _set_rng(device, state.rng)

    for number in range(len(history) + 1, params.epochs + 1):
        train_loss, train_accuracy = _train_epoch(
            model, train, optimizer, schedule, params.batch_size, settings.label_smoothing, number, on_progress
        )
        validation_loss, validation_accuracy = score(model, validation)
        _refuse_infinite(validation_loss, "validation", number)
        if validation_accuracy > max((epoch.validation_accuracy for epoch in history), default=-1.0):
            best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        history.append(Epoch(number, train_loss, train_accuracy, validation_loss, validation_accuracy))
        rates = schedule.state_dict() if schedule else {}
        yield State(list(history), model.state_dict(), best, optimizer.state_dict(), rates, _rng(device))


def _xavier(model: nn.Module) -> None:
    """Draw weights so that signals keep their size (Glorot and Bengio 2010), which sigmoids need to learn at once.

    The slope of a sigmoid is a quarter where it is steepest, so that four times the weights pass on what comes in.
    """
    gain = 4.0 if any(isinstance(layer, nn.Sigmoid) for layer in model.modules()) else 1.0
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def score(model: nn.Module, examples: Examples) -> tuple[float, float]:
    """Compute mean cross-entropy (nats) and accuracy (0..1) of `model`, in evaluation mode, on its own device."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    correct = 0
    batches = (part.split(INFERENCE_BATCH) for part in (examples.images, examples.labels))
    with torch.inference_mode():
        for images, labels in zip(*batches, strict=True):
            logits = model(images)
            loss += cross_entropy(logits, labels, reduction="sum").cpu()
            correct += int((logits.argmax(1) == labels).sum())
    return float(loss) / len(examples), correct / len(examples)


def _train_epoch(
    model: nn.Module,
    train: Augmented,
    optimizer: Optimizer,
    schedule: LRScheduler | None,
    batch_size: int,
    label_smoothing: float,
    number: int,
    on_progress: Progress,
) -> tuple[float, float]:
    """Return the mean loss and the accuracy over the epoch's batches."""
    model.train()
    # Gathered once for the whole epoch: a batch is then a view, and costs nothing to take.
    epoch = train.shuffled()
    labels = epoch.labels
    batches = list(zip(epoch.images.split(batch_size), labels.split(batch_size), strict=True))
    total_loss, correct, count = 0.0, 0, 0
    unreported: list[Tensor] = []
    for step, (images, targets) in enumerate(batches, start=1):
        logits = model(images)
        loss = cross_entropy(logits, targets, label_smoothing=label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        unreported.append(logits.detach())
        if step % REPORT_EVERY == 0 or step == len(batches):
            outputs = torch.cat(unreported)
            expected = labels[count : count + len(outputs)]
            summed = float(cross_entropy(outputs, expected, reduction="sum"))
            _refuse_infinite(summed, "training", number)
            total_loss += summed
            correct += int((outputs.argmax(1) == expected).sum())
            count += len(outputs)
            unreported.clear()
            on_progress(len(outputs), summed / len(outputs))
    return total_loss / len(train), correct / len(train)


def _try_smallest_batch(model: nn.Module, train: Augmented, batch_size: int) -> None:
    """Refuse now what would end an epoch in its last step; `model` and the generators stay as they are."""
    smallest = len(train) % batch_size or batch_size
    batch = train.middle(smallest)
    device = batch.labels.device
    states = _rng(device)
    try:
        cross_entropy(copy.deepcopy(model).train()(batch.images), batch.labels)
    except (RuntimeError, ValueError) as error:
        height, width = batch.images.shape[2:]
        raise UserError(
            f"the model can't learn from {smallest} images of {width}x{height} pixels, which is the last batch when "
            f"{len(train):,} images are taken {batch_size} at a time ({error}): choose another batch size, as in "
            "`dvc exp run -S models.NAME.batch_size=64`, or a model made for such images"
        ) from None
    finally:
        _set_rng(device, states)


def _refuse_infinite(loss: float, part: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the {part} loss is {loss} in epoch {epoch}: the learning rate is too high for this model; "
            "lower it, as in `dvc exp run -S models.NAME.lr=0.0001`"
        )


def _rng(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_rng(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1].cpu())
