import pytest
import torch
from torch import nn

from shiftlab.networks.classifier import Classifier
from tests.helpers import examples


def test_network_sees_pixels_scaled_and_normalised() -> None:
    images = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    seen = Classifier(nn.Identity(), mean=0.2, std=0.5)(images)
    assert seen.dtype == torch.float32
    assert torch.allclose(seen, torch.tensor([[[[-0.4, 0.0], [0.4, 1.6]]]]), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_pixels_of_any_type_are_read_in_0_to_255(dtype: torch.dtype) -> None:
    model = Classifier(nn.Identity(), mean=0.1307, std=0.3081)
    images = examples(3).images
    assert torch.equal(model(images), model(images.to(dtype)))


def test_images_stay_as_they_are() -> None:
    images = examples(3).images.float()
    before = images.clone()
    Classifier(nn.Identity(), mean=0.5, std=0.5)(images)
    assert torch.equal(images, before)


def test_gradients_reach_the_image() -> None:
    image = torch.zeros(1, 1, 4, 4, requires_grad=True)
    Classifier(nn.Flatten(), mean=0.5, std=0.5)(image).sum().backward()
    assert image.grad is not None
    assert torch.allclose(image.grad, torch.full((1, 1, 4, 4), 1 / 255 / 0.5))


def test_state_holds_the_networks_weights_and_nothing_else() -> None:
    model = Classifier(nn.Linear(2, 1), mean=0.5, std=0.5)
    assert list(model.state_dict()) == ["network.weight", "network.bias"]
