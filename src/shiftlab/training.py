"""Fit a model on tensors. It knows neither files nor trackers: after every epoch it hands out all it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shiftlab.data import Dataset, Examples
from shiftlab.errors import UserError
from shiftlab.params import RecipeName, Training

INFERENCE_BATCH = 500  # images; no figure depends on it, speed and memory do
REPORT_EVERY = 20  # steps between two looks at the loss, each of which waits for a GPU to catch up

# How a recipe turns a learning rate into an optimizer. Fused Adam is the same arithmetic in one pass over the weights.
RECIPES: dict[RecipeName, Callable[[Iterator[nn.Parameter], float], torch.optim.Optimizer]] = {
    "notebook": lambda weights, lr: torch.optim.Adam(weights, lr=lr, fused=True),
}


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images. Losses are mean cross-entropies in nats, accuracies are in 0..1.

    The training figures are means over the epoch's batches, taken while the weights change.
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
    on_progress: Callable[[int, float], object] = lambda *_: None,
) -> Iterator[State]:
    """Train `model` in place, one epoch for each state drawn from the iterator.

    The order of the images comes from PyTorch's global generator: seed it before building the model, and the
    same seed gives the same weights. The best weights are those of the highest validation accuracy, the earliest
    of equals.

    Args:
        dataset: `train` and `validation` are used, `test` is not looked at.
        state: where to go on from; what follows is the same as if nothing had come between.
        on_progress: called every few steps with the images seen since the last call and the batch's loss.

    Raises:
        UserError: the loss is not finite.
    """
    model.to(device)
    optimizer = RECIPES[recipe](model.parameters(), params.lr)
    history: list[Epoch] = []
    best: dict[str, Tensor] = {}
    if state is not None:
        model.load_state_dict(state.weights)
        optimizer.load_state_dict(state.optimizer)
        history, best = list(state.history), state.best
        _set_rng(device, state.rng)
    train, validation = dataset.train.to(device), dataset.validation.to(device)

    while len(history) < params.epochs:
        number = len(history) + 1
        train_loss, train_accuracy = _train_epoch(model, train, optimizer, params.batch_size, number, on_progress)
        validation_loss, validation_accuracy = score(model, validation)
        if validation_accuracy > max((epoch.validation_accuracy for epoch in history), default=-1.0):
            best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        history.append(Epoch(number, train_loss, train_accuracy, validation_loss, validation_accuracy))
        yield State(list(history), model.state_dict(), best, optimizer.state_dict(), _rng(device))


def score(model: nn.Module, examples: Examples) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (0..1) of `model`, in evaluation mode, on its own device."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    right = 0
    with torch.inference_mode():
        for images, labels in zip(
            examples.images.split(INFERENCE_BATCH), examples.labels.split(INFERENCE_BATCH), strict=True
        ):
            logits = model(images)
            loss += cross_entropy(logits, labels, reduction="sum").cpu()
            right += int((logits.argmax(1) == labels).sum())
    return float(loss) / len(examples), right / len(examples)


def _train_epoch(
    model: nn.Module,
    train: Examples,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    number: int,
    on_progress: Callable[[int, float], object],
) -> tuple[float, float]:
    model.train()
    device = train.labels.device
    total_loss = torch.zeros((), device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    order = torch.randperm(len(train)).to(device)
    # Gathered once for the whole epoch: a batch is then a view, and costs nothing to take.
    images, labels = train.images.index_select(0, order), train.labels.index_select(0, order)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    unreported = 0
    for step, (pixels, answers) in enumerate(batches, start=1):
        logits = model(pixels)
        loss = cross_entropy(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.detach() * len(answers)
        right += (logits.detach().argmax(1) == answers).sum()
        unreported += len(answers)
        if step % REPORT_EVERY == 0 or step == len(batches):
            latest = float(loss.detach())
            if not math.isfinite(latest):
                raise UserError(
                    f"the training loss is {latest} in epoch {number}: the learning rate is too high for this model; "
                    "lower it, as in `dvc exp run -S models.NAME.lr=0.0001`"
                )
            on_progress(unreported, latest)
            unreported = 0
    return float(total_loss) / len(train), int(right) / len(train)


def _rng(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_rng(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1].cpu())
