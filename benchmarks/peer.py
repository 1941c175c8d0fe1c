"""The ordinary way to do this work, written plainly: what bench.py holds shiftlab against."""

from collections.abc import Iterable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, ToTensor
from torchvision.transforms.functional import affine

from shiftlab.data.dataset import Examples
from shiftlab.models import architectures

BATCH_SIZE = 64


class Pictures(Dataset[tuple[Tensor, int]]):
    """Items as torchvision.datasets.MNIST makes them: one PIL image at a time, then the transform."""

    def __init__(self, examples: Examples, transform: Compose) -> None:
        self.images = examples.images
        self.labels = examples.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index, 0].numpy(), mode="L")
        return self.transform(image), int(self.labels[index])


def network(name: str) -> nn.Module:
    """The plain network, without its normalisation, for 28x28 pixels."""
    if name == "resnet":
        plain: nn.Module = resnet18(weights=None, num_classes=10)
        plain.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        return plain
    return architectures.build(name, (1, 28, 28), 10).network.to(memory_format=torch.contiguous_format)


def transform(name: str) -> Compose:
    """What the plain network takes its images through."""
    model = architectures.build(name, (1, 28, 28), 10)
    return Compose([ToTensor(), Normalize((model.mean,), (model.std,))])


def loader(
    name: str, examples: Examples, order: list[int] | None = None, batch_size: int = BATCH_SIZE
) -> "DataLoader[tuple[Tensor, int]]":
    """Batches in a shuffled order, or in that of the indices `order`."""
    return DataLoader(Pictures(examples, transform(name)), batch_size, shuffle=order is None, sampler=order)


def train(net: nn.Module, batches: "DataLoader[tuple[Tensor, int]]", lr: float) -> list[float]:
    """One epoch; returns the loss of every step."""
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    losses = []
    right = 0
    net.train()
    for images, labels in batches:
        logits = net(images)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right += int((logits.argmax(1) == labels).sum())
    return losses


def shifted(image: Image.Image, dx: int, dy: int) -> Image.Image:
    """One image, moved `dx` pixels right and `dy` down."""
    moved: Image.Image = affine(image, angle=0, translate=[dx, dy], scale=1, shear=[0], fill=0)
    return moved


def probabilities(name: str, net: nn.Module, examples: Examples, shifts: Iterable[tuple[int, int]]) -> Tensor:
    """The class probabilities `(S, N, classes)`: images shifted one by one, and a forward pass for each shift."""
    prepare = transform(name)
    images = [Image.fromarray(image[0].numpy(), mode="L") for image in examples.images]
    net.eval()
    with torch.no_grad():
        logits = [net(torch.stack([prepare(shifted(image, *by)) for image in images])) for by in shifts]
    return torch.stack(logits).softmax(2)
