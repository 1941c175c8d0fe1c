"""What is fast must be the same: shiftlab against the ordinary way, which benchmarks/peer.py writes down."""

import os

import measure
import peer
import pytest
import torch
from measure import Line, Size
from torchvision.transforms.functional import affine

from shiftlab.config.params import Evaluation, Params, Training
from shiftlab.data.dataset import Examples
from shiftlab.models import architectures
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.grids import grid
from shiftlab.shifts.transform import shift
from shiftlab.training import loop
from tests.helpers import GREY, PARAMETERS, dataset, examples, predict

STEPS = 20
CPU = torch.device("cpu")


@pytest.mark.slow
# Adam's first steps are as long for a small gradient as for a large one, so that rounding grows with the learning rate.
@pytest.mark.parametrize(("name", "lr"), [("mlp", 1e-3), ("lenet", 1e-3), ("resnet", 1e-5)])
def test_losses_of_twenty_steps_are_the_ordinary_loops(name: str, lr: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 1)
    batch_size = 32
    data = dataset(STEPS * batch_size)
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10)
    plain = peer.network(name)
    plain.load_state_dict(model.network.state_dict())

    torch.manual_seed(1)
    losses: list[float] = []
    settings = Training(lr=lr, batch_size=batch_size, epochs=1)
    list(loop.fit(model, data, "notebook", settings, CPU, on_progress=lambda _, loss: losses.append(loss)))

    torch.manual_seed(1)
    order = torch.randperm(len(data.train)).tolist()
    expected = peer.train(plain, peer.loader(name, data.train, order, batch_size), settings.lr)
    assert len(losses) == STEPS
    assert losses == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("name", "radius"), [("mlp", 14), ("lenet", 14), ("resnet", 1)])
def test_answers_are_those_of_brute_force(name: str, radius: int) -> None:
    """At every shift, but where the two likeliest digits are all but equally likely."""
    test = examples(96)
    torch.manual_seed(0)
    model = architectures.build(name, GREY, 10).eval()
    plain = peer.network(name).eval()
    plain.load_state_dict(model.network.state_dict())
    wanted = Evaluation(radius=radius, boundaries=["zero"], images="all", shifts="all", phase=1, seed=0)
    found = torch.from_numpy(predict(fuse(model, GREY), test, wanted).grid.predicted)

    expected = []
    for dx, dy in grid(radius).tolist():
        moved = affine(test.images, angle=0, translate=[dx, dy], scale=1, shear=[0], fill=[0])
        with torch.inference_mode():
            expected.append(plain((moved / 255 - model.mean) / model.std).softmax(1))
    likeliest, second = torch.stack(expected).topk(2, dim=2).values.unbind(2)
    same = found == torch.stack(expected).argmax(2)
    assert same.shape == ((2 * radius + 1) ** 2, 96)
    assert (same | (likeliest - second < 1e-5)).all()
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_peer_answers_alike(name: str) -> None:
    test = examples(8)
    model = architectures.build(name, GREY, 10).eval()
    plain = peer.network(name)
    plain.load_state_dict(model.network.state_dict())
    shifted = inference.probabilities(model, shift(test.images, 5, -2))
    torch.testing.assert_close(peer.probabilities(name, plain, test, [(0, 0), (5, -2)])[1], shifted)


def test_batches_hold_the_same_pixels() -> None:
    data = examples(40)
    order = torch.randperm(40)
    batches = torch.cat([images for images, _ in peer.loader("lenet", data, order.tolist())])
    model = architectures.build("lenet", GREY, 10)
    model.network = torch.nn.Identity()
    assert torch.equal(model(data.images[order]), batches)


def test_table_tells_ratios_with_their_spread() -> None:
    line = Line("batches", "10 images/s", "30 images/s", [3.0, 2.5, 4.25], "2")
    wanted = Params.model_validate({**PARAMETERS, "threads": 3})
    text = measure.report([line], wanted, 4.2, Size(3, 1, {}, 1, {}))
    assert "| batches | 10 images/s | 30 images/s | **3** (2.5 to 4.25) | 2 |" in text
    assert f"PyTorch {torch.__version__}" in text
    assert "cores, 3 threads; Python" in text
    assert f"data: {wanted.data.name}; others took 4% of the processor" in text
    assert "Medians of 3 rounds" in text


def test_rounds_are_taken_in_turn_and_the_first_does_not_count() -> None:
    done = []
    times = measure.in_turn(Size(2, 0, {}, 0, {}), lambda: done.append("peer"), lambda: done.append("product"))
    assert done == ["peer", "product"] * 3
    assert [len(one) for one in times] == [2, 2]


@pytest.mark.slow
def test_measures_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody's: the benchmark has a store of its own
    size = Size(1, 64, {"mlp": 128}, 8, {"mlp": 8})
    assert measure.assembly(examples(64), size).ratios[0] > 0
    spent = measure.train("mlp", dataset(128), size)
    assert min(spent.peer[0], spent.notebook[0], spent.fast[0], spent.peak[0]) > 0
    multiply_adds = 784 * 512 + 512 * 256 + 256 * 10
    share = measure.share_of_peak("training", "mlp", 3, [6e-12 * multiply_adds], [1e-12], "")
    assert share.ratios == pytest.approx([50])
    assert measure.shifted_batch(examples(8), size).ratios[0] > 0
    assert measure.evaluation("mlp", examples(16), size, "")[0].ratios[0] > 0
    assert 0 < measure.recorded(spent, 128, size).ratios[0] < 100
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"


def test_settings_are_those_of_conf() -> None:
    assert measure.settings("lenet")["notebook"].epochs == 20
    assert measure.settings("resnet")["fast"].batch_size == 48


def test_first_takes_the_first() -> None:
    some = examples(5)
    few = measure.first(some, 2)
    assert isinstance(few, Examples)
    assert torch.equal(few.images, some.images[:2])
    assert len(few) == 2
