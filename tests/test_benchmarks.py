"""What is fast must be the same: shiftlab against the ordinary way, which benchmarks/peer.py writes down."""

import peer
import pytest
import torch
import work
from bench import Rates, worker
from torchvision.transforms.functional import affine

from shiftlab import determinism
from shiftlab.config.params import Evaluation, Training
from shiftlab.models import architectures
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference
from shiftlab.shifts.grids import grid
from shiftlab.shifts.transform import shift
from shiftlab.training import loop
from tests.helpers import GREY, dataset, examples, predict

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


def test_row_tells_rates_ratios_with_their_spread_and_shares_of_the_peak() -> None:
    rates = Rates([10.0, 20.0, 10.0], [30.0, 50.0, 42.5], [10.0, 20.0, 30.0], [4e10, 5e10, 5e10])
    assert list(rates.cells("training: MLP", 1e8)) == [
        "training: MLP",
        "10 images/s",
        "42 images/s (8% of the peak)",
        "20 images/s (4% of the peak)",
        "**3** (2.5 to 4.25)",
        "100 GFLOP/s",
    ]


@pytest.mark.slow
def test_everything_that_is_timed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRAINED", "EVALUATED"):
        monkeypatch.setattr(work, name, dict.fromkeys(getattr(work, name), 80))
    monkeypatch.setattr(work, "SIDE", 8)
    threads = torch.get_num_threads()
    try:
        rates = [function("mlp", ordinary) for function in (work.train, work.evaluate) for ordinary in (True, False)]
        assert min(*rates, work.peak()) > 0
    finally:
        torch.set_num_threads(threads)
    assert work.multiply_adds("mlp") == 784 * 512 + 512 * 256 + 256 * 10


@pytest.mark.slow
def test_workers_have_kernels_of_their_own_kind() -> None:
    with worker("portable") as portable, worker("native") as native:
        assert portable.submit(determinism.is_portable).result() == determinism.has("avx2")
        assert not native.submit(determinism.is_portable).result()
