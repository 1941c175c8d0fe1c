import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from shiftlab.errors import UserError
from shiftlab.models import architectures, weights
from tests.helpers import GREY, examples


def trained(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return architectures.build(name, (1, 28, 28), 10).state_dict()


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet", "invariant"])
def test_loaded_model_answers_as_the_saved_one(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = architectures.build(name, (1, 28, 28), 10)
    with torch.no_grad():
        model(examples(8, seed=1).images)  # so that batch norm's statistics are not those of a new model
    weights.save(model.state_dict(), name, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    loaded = weights.load(name, tmp_path / "w.safetensors", GREY, 10)
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(examples(5).images), model.eval()(examples(5).images))


def test_weights_in_any_memory_layout_come_back(tmp_path: Path) -> None:
    state = trained("mlp")
    turned = {key: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor for key, tensor in state.items()}
    weights.save(turned, "mlp", tmp_path / "w")
    loaded = weights.load("mlp", tmp_path / "w", GREY, 10).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        weights.save(trained("lenet"), "lenet", tmp_path / name)
    weights.save(trained("lenet", seed=1), "lenet", tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_each_model_and_seed_has_a_file_of_its_own() -> None:
    assert weights.path("mlp", 3) == Path("models/mlp-3.safetensors")


def refusal(name: str, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        weights.load(name, path, GREY, 10)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    assert "no weights at" in refusal("mlp", tmp_path / "gone.safetensors")


def test_file_that_holds_no_weights_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(trained("lenet"), "lenet", path)
    whole = path.read_bytes()
    contents = {
        "empty": b"",
        "text": b"these are not weights\n" * 20,
        "web page": b"<!DOCTYPE html><html></html>",
        "cut off in the header": whole[:50],
        "cut off in the tensors": whole[:-1],
        "pickle": pickle.dumps({"network.weight": [1.0]}),
    }
    for content in contents.values():
        path.write_bytes(content)
        assert "does not hold weights" in refusal("lenet", path)


def test_pickle_in_weights_clothing_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weights": Trap()}, tmp_path / "w.safetensors")
    refusal("mlp", tmp_path / "w.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_architecture_are_a_user_error(tmp_path: Path) -> None:
    weights.save(trained("lenet"), "lenet", tmp_path / "w")
    message = refusal("mlp", tmp_path / "w")
    assert "mlp" in message
    assert "lenet" in message


def test_weights_of_another_shape_are_a_user_error(tmp_path: Path) -> None:
    state = trained("mlp")
    for changed in (
        {**state, "network.1.weight": torch.zeros(3, 3)},
        {**state, "more": torch.zeros(1)},
        {"network.1.weight": state["network.1.weight"]},
    ):
        weights.save(changed, "mlp", tmp_path / "w")
        assert "do not fit mlp" in refusal("mlp", tmp_path / "w")


def test_weights_without_a_name_load_where_they_fit(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(safetensors.torch.save(trained("mlp")))
    weights.load("mlp", tmp_path / "w", GREY, 10)
    assert "do not fit lenet" in refusal("lenet", tmp_path / "w")


def test_file_names_the_components_that_its_network_is_put_together_from(tmp_path: Path) -> None:
    """Their weights have the same shapes: read as another network they would answer, and wrongly."""
    torch.manual_seed(0)
    chosen = {"head": "max", "activation": "sigmoid"}
    model = architectures.build("small", GREY, 10, chosen).eval()
    weights.save(model.state_dict(), "small", tmp_path / "w", chosen)
    loaded = weights.load("small", tmp_path / "w", GREY, 10)
    images = examples(3).images
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
        relu = architectures.build("small", GREY, 10, {"head": "max"}).eval()
        relu.load_state_dict(model.state_dict())
        assert not torch.equal(relu(images), model(images))


def test_components_that_there_are_not_are_refused(tmp_path: Path) -> None:
    weights.save(architectures.build("small", GREY, 10).state_dict(), "small", tmp_path / "w", {"head": "round"})
    with pytest.raises(UserError, match="do not fit small"):
        weights.load("small", tmp_path / "w", GREY, 10)
