import shutil
from pathlib import Path

import pytest
import torch

from shiftlab.config.params import Training
from shiftlab.pipeline.checkpoints import Checkpoint
from shiftlab.training import loop
from shiftlab.training.loop import State
from tests.helpers import SRC, dataset, run_python, tiny_model

SETTINGS = {"recipe": "notebook", "device": "cpu", "lr": 0.001, "batch_size": 64, "epochs": 10, "data": "0" * 64}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's root as DVC names it, and not the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


def a_state() -> State:
    torch.manual_seed(0)
    settings = Training(lr=0.001, batch_size=16, epochs=1)
    return next(loop.fit(tiny_model(), dataset(40), "notebook", settings, torch.device("cpu")))


def only_file(root: Path) -> Path:
    (path,) = (path for path in root.rglob("*") if path.is_file())
    return path


def test_state_comes_back_as_it_was_saved() -> None:
    state = a_state()
    Checkpoint("mlp", 0, SETTINGS).save(state)
    loaded = Checkpoint("mlp", 0, SETTINGS).load()
    assert loaded is not None
    assert loaded.history == state.history
    assert torch.equal(loaded.rng[0], state.rng[0])
    for name, weights in state.weights.items():
        assert torch.equal(loaded.weights[name], weights)
        assert torch.equal(loaded.best[name], state.best[name])
    for number, moments in state.optimizer["state"].items():
        for name, value in moments.items():
            assert torch.equal(loaded.optimizer["state"][number][name], value)


def test_checkpoint_lies_in_the_repositorys_root(root: Path, tmp_path: Path) -> None:
    Checkpoint("mlp", 0, SETTINGS).save(a_state())
    assert only_file(root).parent == root / "checkpoints"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_later_state_replaces_the_earlier(root: Path) -> None:
    checkpoint = Checkpoint("mlp", 0, SETTINGS)
    checkpoint.save(State([], {}, {}, {}, {}, []))
    checkpoint.save(a_state())
    loaded = checkpoint.load()
    assert loaded is not None
    assert len(loaded.history) == 1
    assert only_file(root)


def test_there_is_none_before_the_first_epoch() -> None:
    assert Checkpoint("mlp", 0, SETTINGS).load() is None


def test_cut_off_file_is_no_checkpoint(root: Path) -> None:
    checkpoint = Checkpoint("mlp", 0, SETTINGS)
    checkpoint.save(a_state())
    path = only_file(root)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert checkpoint.load() is None, length


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18)])
def test_other_file_is_no_checkpoint(content: bytes, root: Path) -> None:
    checkpoint = Checkpoint("mlp", 0, SETTINGS)
    checkpoint.save(a_state())
    only_file(root).write_bytes(content)
    assert checkpoint.load() is None


def test_flipped_bit_is_no_checkpoint(root: Path) -> None:
    checkpoint = Checkpoint("mlp", 0, SETTINGS)
    checkpoint.save(a_state())
    path = only_file(root)
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 50):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert checkpoint.load() is None, place


def test_removed_checkpoint_is_gone(root: Path) -> None:
    checkpoint = Checkpoint("mlp", 0, SETTINGS)
    checkpoint.remove()
    checkpoint.save(a_state())
    checkpoint.remove()
    assert checkpoint.load() is None
    assert not list((root / "checkpoints").iterdir())


def test_another_model_or_seed_has_another_key() -> None:
    keys = {Checkpoint(model, seed, SETTINGS).key for model in ("mlp", "lenet") for seed in (0, 1)}
    assert len(keys) == 4


def test_another_training_does_not_find_it() -> None:
    Checkpoint("mlp", 0, SETTINGS).save(a_state())
    assert Checkpoint("mlp", 1, SETTINGS).load() is None
    assert Checkpoint("lenet", 0, SETTINGS).load() is None
    assert Checkpoint("mlp", 0, {**SETTINGS, "lr": 0.002}).load() is None


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "other"},
        {"device": "cuda"},
        {"lr": 0.0010000001},
        {"batch_size": 65},
        {"epochs": 11},
        {"data": "1" * 64},
        {"one": "more"},
    ],
)
def test_every_setting_changes_the_key(change: dict[str, object]) -> None:
    assert Checkpoint("mlp", 0, {**SETTINGS, **change}).key != Checkpoint("mlp", 0, SETTINGS).key


def test_order_of_the_settings_does_not_matter() -> None:
    backwards = dict(reversed(SETTINGS.items()))
    assert Checkpoint("mlp", 0, backwards).key == Checkpoint("mlp", 0, SETTINGS).key


def test_number_of_threads_changes_the_key() -> None:
    before = torch.get_num_threads()
    key = Checkpoint("mlp", 0, SETTINGS).key
    try:
        torch.set_num_threads(before + 1)
        assert Checkpoint("mlp", 0, SETTINGS).key != key
    finally:
        torch.set_num_threads(before)


MATTERING = [
    "training/loop",
    "training/augmentation",
    "networks/classifier",
    "networks/fast/adam",
    "networks/fast/small_maps",
    "data/dataset",
    "models/architectures/mlp",
]


def test_code_that_makes_the_weights_changes_the_key(tmp_path: Path) -> None:
    shutil.copytree(SRC / "shiftlab", tmp_path / "src/shiftlab", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from pathlib import Path; import shiftlab; from shiftlab.pipeline.checkpoints import Checkpoint\n"
        f"for name in {(*MATTERING, 'reports/plots', 'models/architectures/lenet', 'networks/layers')}:\n"
        "    before = Checkpoint('mlp', 0, {}).key\n"
        "    path = Path(shiftlab.__file__).parent / f'{name}.py'\n"
        "    path.write_text(path.read_text() + '# changed')\n"
        "    if Checkpoint('mlp', 0, {}).key != before:\n"
        "        print(name)\n"
    )
    done = run_python("-c", code, cwd=tmp_path, package=tmp_path / "src")
    assert done.stdout.split() == MATTERING, done.stderr
