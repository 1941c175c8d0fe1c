"""Bytes that travel: what the last bits depend on, and what they don't."""

import os
import platform
from pathlib import Path

import pytest
import torch

from shiftlab import determinism
from tests.helpers import SRC, run_python

TRAIN = """
import hashlib
from shiftlab import determinism
determinism.prepare("portable")
import torch
torch.set_num_threads({threads})
from shiftlab.training import loop
from shiftlab.models import architectures
from shiftlab.config.params import Training
from tests.helpers import GREY, dataset
determinism.pick_device("cpu")
torch.manual_seed(0)
model = architectures.build("lenet", GREY, 10)
list(loop.fit(model, dataset(128), "notebook", Training(lr=0.003, batch_size=64, epochs=1), torch.device("cpu")))
digest = hashlib.sha256()
for weights in model.state_dict().values():
    digest.update(weights.contiguous().numpy().tobytes())
print(digest.hexdigest(), torch.get_num_threads(), torch.backends.cpu.get_cpu_capability())
"""
ROOT = Path(__file__).parents[1]


def train(threads: int = 2, **environment: str) -> list[str]:
    """Digest of the weights, threads and instructions used."""
    done = run_python("-c", TRAIN.format(threads=threads), cwd=ROOT, package=SRC, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def weights() -> list[str]:
    return train()


def test_waiting_politely_changes_no_bit(weights: list[str]) -> None:
    assert train(OMP_WAIT_POLICY="active")[0] == weights[0]


def test_threads_are_as_many_as_asked_for_whatever_the_machine_offers(weights: list[str]) -> None:
    digest, threads, _ = train(OMP_NUM_THREADS="1")
    assert (digest, threads) == (weights[0], "2")


@pytest.mark.skipif(not determinism.has("avx2"), reason="needs an x86 processor with AVX2")
def test_instructions_are_those_that_every_processor_has(weights: list[str]) -> None:
    assert weights[2] == "AVX2"
    _, threads, instructions = train(threads=3, ATEN_CPU_CAPABILITY="default")
    assert instructions in ("DEFAULT", "NO AVX")  # a user's own choice
    assert threads == "3"


def test_native_leaves_the_kernels_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*determinism.IDLE_THREADS, *determinism.INSTRUCTIONS, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    determinism.prepare("native")
    assert not set(determinism.INSTRUCTIONS) & set(os.environ)
    assert determinism.description()["determinism"] == "native"
    assert os.environ.pop("GOMP_SPINCOUNT") == "1000"
    if determinism.has("avx2"):
        determinism.prepare("portable")
        assert determinism.description()["determinism"] == "portable"
    for name in (*determinism.IDLE_THREADS, *determinism.INSTRUCTIONS):
        os.environ.pop(name, None)


def test_users_own_settings_stay_and_are_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*determinism.IDLE_THREADS, *determinism.INSTRUCTIONS, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    determinism.prepare("portable")
    assert "GOMP_SPINCOUNT" not in os.environ
    assert os.environ["MKL_CBWR"] == "AUTO"
    assert "MKL_CBWR=AUTO is kept" in capsys.readouterr().err
    monkeypatch.delenv("OMP_WAIT_POLICY")
    determinism.prepare("native")
    assert not capsys.readouterr().err
    assert os.environ.pop("GOMP_SPINCOUNT") == "1000"
    for name in determinism.INSTRUCTIONS:
        os.environ.pop(name, None)


# Blocks larger than the most of 32 MB up to which glibc learns to keep them by itself.
AGAIN = """
import resource
from shiftlab import determinism
determinism.prepare("native")
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def pages_asked_for_again(**environment: str) -> int:
    done = run_python("-c", AGAIN, cwd=ROOT, package=SRC, **environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_memory_is_kept_from_batch_to_batch_but_where_the_user_says() -> None:
    own = pages_asked_for_again(MALLOC_MMAP_THRESHOLD_="1000000")
    assert pages_asked_for_again() < own / 10


def test_description_names_the_processor_and_what_else_matters() -> None:
    found = determinism.description()
    assert set(found) == {"processor", "determinism", "instructions", "threads", "torch", "python"}
    assert all(found.values())


def test_processor_without_avx2_keeps_its_kernels_and_is_told_what_is_promised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(determinism, "has", lambda _: False)
    for name in determinism.INSTRUCTIONS:
        monkeypatch.delenv(name, raising=False)
    determinism.prepare("portable")
    assert "the same each time on this machine" in capsys.readouterr().err
    assert not set(determinism.INSTRUCTIONS) & set(os.environ)
    assert not determinism.is_portable()
    assert determinism.description()["threads"] != "any number"
    determinism.prepare("native")


@pytest.mark.skipif(not determinism.has("avx2"), reason="needs an x86 processor with AVX2")
def test_portable_trainings_do_not_depend_on_threads_and_native_ones_take_them_from_the_parameters(
    weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(threads=1)[0] == train(threads=3)[0] == weights[0]
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: taken.append(threads))
    monkeypatch.setenv(determinism.THREADS, "1")
    taken: list[int] = []
    for kind in ("portable", "native"):
        monkeypatch.setattr(determinism, "_prepared", kind)
        determinism.set_threads(3)
    assert taken == [1, 3]


def test_description_tells_of_instructions_that_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ours in determinism.INSTRUCTIONS.items():
        monkeypatch.setenv(name, ours)
    ordinary = determinism.description()["instructions"]
    assert "=" not in ordinary
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert determinism.description()["instructions"] == f"{ordinary}, MKL_CBWR=COMPATIBLE"
