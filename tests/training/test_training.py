import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shiftlab.config.params import RecipeName, Training
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.training import loop
from shiftlab.training.loop import Epoch, State
from tests.helpers import GREY, dataset, examples, tiny_model

CPU = torch.device("cpu")
SETTINGS = Training(lr=0.003, batch_size=16, epochs=4)


def copied(state: State) -> State:
    """The state as it is now, by way of a file, as checkpoints have it."""
    buffer = io.BytesIO()
    torch.save(state.to_dict(), buffer)
    buffer.seek(0)
    return State.from_dict(torch.load(buffer, weights_only=True))


def train(
    seed: int = 0,
    settings: Training = SETTINGS,
    data: Dataset | None = None,
    build: Callable[[], Classifier] = tiny_model,
    recipe: RecipeName = "notebook",
) -> list[State]:
    """The states after each epoch."""
    torch.manual_seed(seed)
    epochs = loop.fit(build(), data or dataset(70), recipe, settings, CPU)
    return [copied(state) for state in epochs]


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return any(not torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_same_seed_gives_the_same_weights_and_history() -> None:
    first, second = train(seed=3)[-1], train(seed=3)[-1]
    assert_same(first.weights, second.weights)
    assert_same(first.best, second.best)
    assert first.history == second.history


def test_another_seed_gives_other_weights() -> None:
    assert differ(train(seed=3)[-1].weights, train(seed=4)[-1].weights)


def test_seed_also_orders_the_images() -> None:
    def same_start() -> Classifier:
        model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)), mean=0.5, std=0.5)
        for weights in model.parameters():
            nn.init.zeros_(weights)
        return model

    assert differ(train(seed=3, build=same_start)[-1].weights, train(seed=4, build=same_start)[-1].weights)


def test_one_state_for_each_epoch() -> None:
    states = train()
    assert [[epoch.epoch for epoch in state.history] for state in states] == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_training_learns() -> None:
    last = train(settings=Training(lr=0.003, batch_size=16, epochs=12), data=dataset(200))[-1].history[-1]
    assert last.validation_accuracy > 0.8
    assert last.train_accuracy > 0.5


@pytest.mark.parametrize(
    "build", [tiny_model, lambda: architectures.build("lenet", GREY, 10)], ids=["dropout and batch norm", "lenet"]
)
@pytest.mark.parametrize("interrupted_after", [1, 3])
@pytest.mark.parametrize("recipe", get_args(RecipeName))
def test_interrupted_training_goes_on_as_if_nothing_had_come_between(
    build: Callable[[], Classifier], interrupted_after: int, recipe: RecipeName
) -> None:
    whole = train(build=build, recipe=recipe)[-1]

    torch.manual_seed(0)
    epochs = loop.fit(build(), dataset(70), recipe, SETTINGS, CPU)
    state = [copied(next(epochs)) for _ in range(interrupted_after)][-1]
    torch.manual_seed(12345)
    *_, resumed = map(copied, loop.fit(build(), dataset(70), recipe, SETTINGS, CPU, state))

    assert_same(resumed.weights, whole.weights)
    assert_same(resumed.best, whole.best)
    assert resumed.history == whole.history
    assert torch.equal(resumed.rng[0], whole.rng[0])


def test_finished_training_has_nothing_left_to_do() -> None:
    last = train()[-1]
    assert list(loop.fit(tiny_model(), dataset(70), "notebook", SETTINGS, CPU, last)) == []


def test_earlier_states_history_does_not_grow() -> None:
    torch.manual_seed(0)
    first, *_ = list(loop.fit(tiny_model(), dataset(70), "notebook", SETTINGS, CPU))
    assert len(first.history) == 1


def test_test_images_are_never_looked_at() -> None:
    data = dataset(70)
    unusable = Examples(torch.empty(0), torch.full((5, 5), -1))
    last = train(data=replace(data, test=unusable))[-1]
    assert_same(last.weights, train(data=data)[-1].weights)


def wrong_labels(right: Examples) -> Examples:
    return Examples(right.images, (right.labels + 1) % 10)


@pytest.mark.parametrize(
    ("validation", "lr", "course"),
    [
        pytest.param(examples(50, seed=2), 1e-4, "rises", id="accuracy rises"),
        pytest.param(wrong_labels(examples(200, seed=1)), 3e-5, "falls", id="accuracy falls"),
        pytest.param(examples(50, seed=2), 1e-6, "stays", id="accuracy stays"),
    ],
)
def test_best_weights_are_those_of_the_earliest_best_epoch(validation: Examples, lr: float, course: str) -> None:
    data = replace(dataset(200), validation=validation)
    states = train(
        settings=Training(lr=lr, batch_size=16, epochs=6), data=data, build=lambda: architectures.build("mlp", GREY, 10)
    )
    accuracies = [epoch.validation_accuracy for epoch in states[-1].history]
    assert (accuracies[-1] > accuracies[0], accuracies[-1] < accuracies[0]) == (course == "rises", course == "falls")
    for number, state in enumerate(states, start=1):
        earliest = accuracies.index(max(accuracies[:number]))
        assert_same(state.best, states[earliest].weights)
    assert differ(states[0].weights, states[-1].weights)


@pytest.mark.parametrize(("batch_size", "diverges"), [(16, "training"), (70, "validation")])
def test_training_that_diverges_in_its_last_step_is_a_user_error(batch_size: int, diverges: str) -> None:
    """One step an epoch: its loss is that of the weights before it."""
    with pytest.raises(UserError, match=rf"{diverges} loss is (nan|inf) in epoch 1"):
        train(settings=Training(lr=1e30, batch_size=batch_size, epochs=1))


@pytest.mark.parametrize("batch_size", [1, 69], ids=["every batch", "the last batch"])
def test_batch_too_small_for_batch_norm_is_refused_before_the_first_step(batch_size: int) -> None:
    seen: list[int] = []
    settings = Training(lr=0.003, batch_size=batch_size, epochs=1)
    epochs = loop.fit(
        tiny_model(), dataset(70), "notebook", settings, CPU, on_progress=lambda images, _: seen.append(images)
    )
    with pytest.raises(UserError, match=r"can't learn from 1 images of 28x28 pixels.*choose another batch size"):
        next(epochs)
    assert seen == []


def test_batch_of_one_is_no_matter_without_batch_norm() -> None:
    settings = Training(lr=0.003, batch_size=69, epochs=1)
    assert len(train(settings=settings, build=lambda: architectures.build("lenet", GREY, 10))) == 1


def test_model_made_for_other_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"can't learn from 6 images of 28x28 pixels.*a model made for such images"):
        train(build=lambda: architectures.build("mlp", (1, 48, 48), 10))


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_that_diverges_is_a_user_error(epochs: int) -> None:
    with pytest.raises(UserError, match=r"loss is (nan|inf) in epoch 1.*learning rate is too high") as caught:
        train(settings=Training(lr=1e30, batch_size=16, epochs=epochs))
    assert "\n" not in str(caught.value)


def dropping_model() -> Classifier:
    network = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10))
    return Classifier(network, mean=0.5, std=0.5)


@pytest.mark.parametrize(
    "build", [dropping_model, lambda: architectures.build("lenet", GREY, 10)], ids=["dropout", "lenet"]
)
def test_training_is_an_ordinary_loop(build: Callable[[], Classifier]) -> None:
    """The notebook's: shuffled batches, the last one smaller, cross-entropy, Adam."""
    data = dataset(70)
    state = train(data=data, build=build)[-1]

    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTINGS.lr, fused=False)
    history = []
    for epoch in range(1, SETTINGS.epochs + 1):
        order = torch.randperm(len(data.train))
        loss_sum, right = 0.0, 0
        model.train()
        for start in range(0, len(order), SETTINGS.batch_size):
            batch = order[start : start + SETTINGS.batch_size]
            logits = model(data.train.images[batch])
            loss = cross_entropy(logits, data.train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(batch)
            right += int((logits.argmax(1) == data.train.labels[batch]).sum())
        model.eval()
        with torch.no_grad():
            logits = model(data.validation.images)
        validation_loss = cross_entropy(logits, data.validation.labels).item()
        validation_right = int((logits.argmax(1) == data.validation.labels).sum())
        history.append(Epoch(epoch, loss_sum / 70, right / 70, validation_loss, validation_right / 20))

    for got, expected in zip(state.history, history, strict=True):
        assert vars(got) == pytest.approx(vars(expected), rel=1e-4)
    for name, weights in model.state_dict().items():
        assert torch.allclose(state.weights[name], weights, rtol=0, atol=1e-5), name


def test_fast_recipe_raises_the_learning_rate_and_lowers_it_again() -> None:
    states = train(recipe="fast", settings=Training(lr=0.01, batch_size=16, epochs=10))
    rates = [state.optimizer["param_groups"][0]["lr"] for state in states]
    highest = rates.index(max(rates))
    assert 0 < highest < 5
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert 0.009 < rates[highest] <= 0.01
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("recipe", ["fast", "brief", "smoothed"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_cycle_takes_however_few_steps(recipe: RecipeName, steps: int) -> None:
    last = train(recipe=recipe, settings=Training(lr=0.01, batch_size=70, epochs=steps))[-1]
    assert len(last.history) == steps


def test_xavier_makes_up_for_the_slope_of_sigmoids() -> None:
    def spread(activation: nn.Module) -> float:
        torch.manual_seed(0)
        layer = nn.Linear(400, 200)
        loop._xavier(nn.Sequential(layer, activation))
        return float(layer.weight.detach().std())

    assert spread(nn.ReLU()) == pytest.approx((2 / 600) ** 0.5, rel=0.02)
    assert spread(nn.Sigmoid()) == pytest.approx(4 * (2 / 600) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("recipe", "adam", "cycle", "smoothing"),
    [
        ("fast", {}, {}, 0.0),
        ("brief", {"betas": (0.9, 0.99), "eps": 1e-5}, {"pct_start": 0.2}, 0.0),
        (
            "smoothed",
            {"betas": (0.9, 0.95), "eps": 1e-5},
            {"anneal_strategy": "linear", "cycle_momentum": False},
            0.1,
        ),
    ],
)
def test_recipe_is_adam_in_one_cycle(
    recipe: RecipeName, adam: dict[str, Any], cycle: dict[str, Any], smoothing: float
) -> None:
    data = dataset(70)
    state = train(recipe=recipe, data=data, build=dropping_model)[-1]

    torch.manual_seed(0)
    model = dropping_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTINGS.lr, **adam)
    steps = SETTINGS.epochs * 5
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, SETTINGS.lr, total_steps=steps, **cycle)
    for _ in range(SETTINGS.epochs):
        for batch in torch.randperm(70).split(SETTINGS.batch_size):
            optimizer.zero_grad()
            logits = model.train()(data.train.images[batch])
            cross_entropy(logits, data.train.labels[batch], label_smoothing=smoothing).backward()
            optimizer.step()
            schedule.step()

    for name, weights in model.state_dict().items():
        assert torch.allclose(state.weights[name], weights, rtol=0, atol=1e-5), name


def test_validation_is_scored_in_evaluation_mode() -> None:
    state = train()[0]
    model = tiny_model()
    model.load_state_dict(state.weights)
    model.eval()
    with torch.no_grad():
        logits = model(dataset(70).validation.images)
    assert state.history[0].validation_loss == pytest.approx(
        cross_entropy(logits, dataset(70).validation.labels).item(), rel=1e-5
    )


def test_score_counts_every_image_once() -> None:
    some = examples(loop.INFERENCE_BATCH + 37)
    torch.manual_seed(0)
    model = tiny_model()
    loss, accuracy = loop.score(model, some)
    with torch.no_grad():
        logits = model(some.images)
    assert loss == pytest.approx(cross_entropy(logits, some.labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == some.labels).float().mean().item())


def test_score_leaves_weights_and_statistics_alone() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loop.score(model, examples(20))
    assert_same(model.state_dict(), before)


def test_progress_adds_up_to_all_images() -> None:
    seen: list[int] = []
    losses: list[float] = []

    def show(images: int, loss: float) -> None:
        seen.append(images)
        losses.append(loss)

    settings = Training(lr=0.001, batch_size=3, epochs=2)  # 34 steps an epoch, the last with one image less
    torch.manual_seed(0)
    list(loop.fit(architectures.build("mlp", GREY, 10), dataset(101), "notebook", settings, CPU, on_progress=show))
    assert sum(seen) == 2 * 101
    assert len(seen) > 2
    assert all(0 < loss < 20 for loss in losses)
