"""The same bytes on every x86 processor and with any number of threads: the golden digests.

tests/golden.json has digests of kernels, made on a processor of Intel's, and of short trainings and predictions of
every architecture, made on the processor that it names. Where this test passes, an edit has changed no byte of weights
and predictions, and `dvc commit` of the committed results is legitimate. Where a training's digest has changed, the
results have to be made anew, and `python scripts/golden.py --write` renews the digests.
"""

import json
import subprocess
import sys
from typing import Any

import golden
import numpy as np
import pytest
import torch

from shiftlab import determinism
from tests.helpers import ROOT, isolated_environment, run_python

COMMITTED: dict[str, Any] = json.loads(golden.DIGESTS.read_text(encoding="utf-8"))
MADE_WITH = COMMITTED["trainings"]["torch"]

needs_avx2 = pytest.mark.skipif(not determinism.has("avx2"), reason="bytes are promised for x86 processors with AVX2")
needs_version = pytest.mark.skipif(
    torch.__version__.partition("+")[0] != MADE_WITH, reason=f"the digests were made with PyTorch {MADE_WITH}"
)


@needs_avx2
@needs_version
@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_kernels_trainings_and_predictions_have_the_committed_bytes(threads: str) -> None:
    command = [sys.executable, str(ROOT / "scripts/golden.py"), "--threads", threads]
    environment = {**isolated_environment(), "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    digests = json.loads(process.stdout)
    assert digests["kernels"] == COMMITTED["kernels"]["digests"]
    assert digests["trainings"] == COMMITTED["trainings"]["digests"], "python scripts/golden.py --write, if it is meant"


# An element of a product is the sum of its products in order, each added before it is rounded, in parts of 1,024.
PRODUCTS = """
from shiftlab import determinism
determinism.prepare("portable")
import numpy as np
import torch
from torch.nn.functional import linear
determinism.pick_device("cpu")

def chained(first, second):
    total = np.zeros((len(first), len(second)), np.float32)
    for begin in range(0, first.shape[1], 1024):
        part = np.zeros_like(total)
        for k in range(begin, min(begin + 1024, first.shape[1])):
            part = (first[:, k : k + 1].astype(float) * second[:, k] + part).astype(np.float32)
        total = total + part
    return total

for rows, inner, columns in [(1, 784, 10), (3, 50, 2), (64, 784, 65), (48, 1024, 40), (17, 1100, 33), (9, 2500, 9)]:
    generator = np.random.default_rng(rows)
    first = generator.standard_normal((rows, inner)).astype(np.float32)
    second = generator.standard_normal((columns, inner)).astype(np.float32)
    expected, (x, w) = chained(first, second), map(torch.from_numpy, (first, second))
    for threads in (1, 3):
        torch.set_num_threads(threads)
        for weight in (w, w.T.contiguous().T, torch.cat([w, w], 1)[:, :inner]):
            assert np.array_equal(linear(x, weight).numpy(), expected), (rows, inner, columns, weight.stride())
            assert np.array_equal((weight @ x.T).T.numpy(), expected), (rows, inner, columns, weight.stride())
print("equal")
"""


@needs_avx2
def test_products_add_up_in_the_order_of_their_terms() -> None:
    done = run_python("-c", PRODUCTS, cwd=ROOT, package=ROOT / "src")
    assert done.stdout == "equal\n", done.stderr


# Against PyTorch's own kernels in double precision.
GRADIENTS = """
from shiftlab import determinism
determinism.prepare("portable")
import copy
import torch
from torch import nn
determinism.pick_device("cpu")
torch.set_num_threads(THREADS)
torch.manual_seed(0)
for shape, layer in [
    ((64, 16, 28, 28), nn.Conv2d(16, 8, 3, padding=1)),
    ((65, 16, 28, 28), nn.Conv2d(16, 8, 3, stride=2, bias=False)),
    ((64, 1, 28, 28), nn.Conv2d(1, 4, 5, padding="same")),
    ((3, 12, 9, 9), nn.Conv2d(12, 12, 3, groups=4, dilation=2)),
    ((1, 8, 64, 64), nn.Conv2d(8, 32, 3)),
    ((4, 3, 8, 8), nn.Conv2d(3, 5, 3).requires_grad_(False)),
    ((32, 20), nn.Linear(20, 7)),
    ((1, 20), nn.Linear(20, 7, bias=False)),
    ((5, 4, 20), nn.Linear(20, 7)),
    ((16, 6, 5, 5), nn.BatchNorm2d(6)),
]:
    double = copy.deepcopy(layer).double()
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().double().requires_grad_()
    single, exact = layer(x), double(y)
    gradient = torch.randn(single.shape)
    single.backward(gradient)
    exact.backward(gradient.double())
    weights = [(p.grad, q.grad) for p, q in zip(layer.parameters(), double.parameters()) if p.requires_grad]
    for one, other in [(single, exact), (x.grad, y.grad), *weights]:
        assert (one - other).abs().max() < 1e-4 * other.abs().max(), layer
    assert torch.get_num_threads() == THREADS
print("close")
"""


@needs_avx2
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_those_of_plain_pytorch(threads: int) -> None:
    done = run_python("-c", f"THREADS = {threads}\n{GRADIENTS}", cwd=ROOT, package=ROOT / "src")
    assert done.stdout == "close\n", done.stderr


def test_every_architecture_is_trained() -> None:
    from shiftlab.models import architectures

    assert {name.partition(",")[0] for name in golden.cases()} == set(architectures.names())
    assert COMMITTED["trainings"]["digests"].keys() == golden.cases().keys(), "python scripts/golden.py --write"


def test_digest_tells_one_bit() -> None:
    weights = torch.ones(3)
    before = golden.digest([weights])
    assert golden.digest([torch.ones(3)]) == before
    weights.view(torch.int32)[1] ^= 1
    assert golden.digest([weights]) != before


def test_drawn_numbers_are_those_of_numpys_generator() -> None:
    expected = np.random.default_rng(5).standard_normal((2, 3)).astype(np.float32)
    assert np.array_equal(golden.draw(5, 2, 3).numpy(), expected)
