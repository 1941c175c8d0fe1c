import os
from collections.abc import Iterator
from typing import get_args

import pytest
import torch

from shiftlab import determinism
from shiftlab.config.params import DeviceName
from shiftlab.errors import UserError
from tests.helpers import settings_put_back


@pytest.fixture(autouse=True)
def pytorchs_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with settings_put_back():
        yield


def found() -> str | None:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator.type if accelerator else None


def test_cpu_is_always_there() -> None:
    assert determinism.pick_device("cpu") == torch.device("cpu")


def test_auto_takes_an_accelerator_where_there_is_one() -> None:
    assert determinism.pick_device("auto").type == (found() or "cpu")


@pytest.mark.parametrize("name", sorted(set(get_args(DeviceName)) - {"auto", "cpu"}))
def test_device_by_name_is_that_device_or_a_user_error(name: DeviceName) -> None:
    if name == found():
        assert determinism.pick_device(name).type == name
        return
    with pytest.raises(UserError, match=f"device is '{name}'.*choose auto or cpu") as caught:
        determinism.pick_device(name)
    assert "\n" not in str(caught.value)


def test_tensors_can_be_made_on_the_picked_device() -> None:
    picked = determinism.pick_device("auto")
    assert torch.ones(3, device=picked).sum().item() == 3


@pytest.mark.skipif(found() is None, reason="needs an accelerator")
def test_accelerator_is_held_to_deterministic_algorithms_and_whole_float32() -> None:
    determinism.pick_device("auto")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_description_is_the_processors_on_a_cpu() -> None:
    assert determinism.description(torch.device("cpu")) == determinism.description()


@pytest.mark.skipif(found() is None, reason="needs an accelerator")
def test_description_names_the_accelerator() -> None:
    described = determinism.description(determinism.pick_device("auto"))
    assert described["accelerator"]
    assert {name: value for name, value in described.items() if name != "accelerator"} == determinism.description()


def test_users_own_cublas_setting_stays() -> None:
    determinism.pick_device("auto")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
