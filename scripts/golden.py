"""Digests of what portable kernels, short trainings and predictions compute: does a change of the code change bytes?

They are printed; with --write those of trainings become the committed ones in tests/golden.json, with the name of this
processor. Those of single kernels there are another maker's: where they are equal, the bytes have travelled.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftlab import determinism, files

if TYPE_CHECKING:
    from torch import Tensor

    from shiftlab.data.dataset import Dataset

DIGESTS = Path(__file__).parents[1] / "tests" / "golden.json"
DIGITS_OF_A_DIGEST = 16  # of SHA-256's 64, to keep the file short
# Rows, inputs and outputs of dense layers: of LeNet-5 and the MLP, of their gradients, and of ResNet-18's small maps.
PRODUCTS = [
    (48, 784, 512), (64, 784, 512), (64, 512, 256), (64, 256, 10), (128, 784, 512), (250, 784, 512), (250, 400, 120),
    (64, 400, 120), (64, 120, 84), (64, 84, 10), (512, 64, 784), (784, 64, 512), (256, 64, 512), (64, 512, 784),
    (250, 512, 512), (64, 2048, 1024), (1000, 512, 256), (64, 1152, 512), (250, 2304, 1024),
]  # fmt: skip
# Images, channels, pixels a side; channels after; kernel, stride, padding.
CONVOLUTIONS = [
    (64, 1, 28, 6, 5, 1, 2), (64, 6, 14, 16, 5, 1, 0), (64, 1, 28, 64, 7, 2, 3), (64, 64, 7, 64, 3, 1, 1),
    (64, 64, 7, 128, 3, 2, 1), (64, 128, 4, 128, 3, 1, 1), (48, 128, 4, 256, 3, 2, 1), (250, 64, 7, 64, 3, 1, 1),
    (128, 1, 28, 16, 3, 1, 1), (128, 16, 14, 32, 3, 1, 1), (2, 3, 224, 64, 7, 2, 3), (2, 64, 56, 64, 3, 1, 1),
]  # fmt: skip
TRAIN, VALIDATION, TEST = 200, 40, 100  # images
SETTINGS: dict[str, Any] = {"lr": 0.005, "batch_size": 48, "epochs": 2}  # 200 images: the last batch has 8
STILL, MOVED = {"kind": "none", "pixels": 0}, {"kind": "shifts", "pixels": 2}
# Beside the defaults, with which every network is trained by the notebook's recipe and by `fast` on moved images.
COMPONENTS: dict[str, list[dict[str, object]]] = {
    "small": [
        {"downsampling": "none", "activation": "gelu", "head": "average"},
        {"downsampling": "stride", "padding": "valid", "activation": "sigmoid"},
        {"downsampling": "average", "padding": "circular", "activation": "identity", "head": "max"},
        {"downsampling": "larger max", "padding": "circular"},
        {"downsampling": "blurred max", "padding": "circular", "layers": 4},
        {"downsampling": "blurred max", "head": "max"},
        {"downsampling": "polyphase max", "head": "average"},
    ],
    "narrow_resnet": [{"stem": "small"}],
}
OTHER_RECIPES = [("lenet", "brief", {"initialisation": "xavier"}), ("mlp", "smoothed", {})]


def main() -> None:
    """Print the digests by their kind, or write those of trainings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="trainings, by their names in tests/golden.json (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads to train and predict with (default: 1)")
    parser.add_argument("--write", action="store_true", help="write the digests of trainings to tests/golden.json")
    arguments = parser.parse_args()
    determinism.prepare("portable")  # before PyTorch is imported
    import torch

    torch.set_num_threads(1)
    kernels = digest_kernels()
    torch.set_num_threads(arguments.threads)
    determinism.pick_device("cpu")  # from here on with the kernels of portable.py
    chosen = arguments.names or list(cases())
    trainings = {name: digest_training(*cases()[name]) for name in chosen}
    if not arguments.write:
        print(json.dumps({"kernels": kernels, "trainings": trainings}))
        return
    committed = json.loads(DIGESTS.read_text(encoding="utf-8"))
    made_on = {"processor": determinism.name(), "torch": torch.__version__.partition("+")[0]}
    committed["trainings"] = {**made_on, "digests": trainings}
    files.write(DIGESTS, json.dumps(committed, indent=1) + "\n")
    print(f"{DIGESTS.name} has the digests of {made_on['processor']}")


def digest_kernels() -> dict[str, str]:
    """Return digests of matrix products, convolutions with their gradients, and other functions that networks use."""
    import torch
    from torch import nn
    from torch.nn import functional

    digests = {}
    for rows, inputs, outputs in PRODUCTS:
        x, weight, bias = draw(1, rows, inputs), draw(2, outputs, inputs), draw(3, outputs)
        product = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        digests[f"product {rows}x{inputs}x{outputs}"] = digest([product])
    for images, channels, side, outputs, kernel, stride, padding in CONVOLUTIONS:
        layer = nn.Conv2d(channels, outputs, kernel, stride, padding).to(memory_format=torch.channels_last)
        with torch.no_grad():
            layer.weight.copy_(draw(5, *layer.weight.shape))
            layer.bias.copy_(draw(6, outputs))  # type: ignore[union-attr]
        x = draw(4, images, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
        maps = layer(x)
        maps.backward(draw(7, *maps.shape))
        name = f"convolution {images}x{channels}x{side} to {outputs}, {kernel}/{stride}/{padding}"
        digests[name] = digest([maps])
        digests[f"{name}: gradients"] = digest([x.grad, *(weights.grad for weights in layer.parameters())])
    x, norm, maps = draw(8, 64, 512), nn.BatchNorm2d(64), draw(9, 64, 64, 7, 7).requires_grad_()
    normalised = norm(maps)
    normalised.backward(draw(10, *normalised.shape))
    weights = draw(11, 512, 784).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=1e-3, fused=True)
    for step in range(5):
        weights.grad = draw(12 + step, 512, 784)
        optimizer.step()
    others = {
        "sigmoid": x.sigmoid(),
        "softmax": x.softmax(1),
        "GELU": functional.gelu(x),
        "cross-entropy": functional.cross_entropy(x[:, :10], torch.arange(64) % 10),
        "Adam": weights,
        "average pooling": functional.avg_pool2d(maps, 2),
        "max pooling": functional.max_pool2d(maps, 2),
    }
    digests |= {name: digest([tensor]) for name, tensor in others.items()}
    return {**digests, "batch normalisation": digest([normalised, maps.grad])}


def draw(seed: int, *shape: int) -> "Tensor":
    """Return normally distributed float32 numbers."""
    import torch

    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def cases() -> dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Return the trainings by a name for each: architecture, recipe, augmentation, other settings."""
    from shiftlab.models import architectures

    listed: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []
    for architecture in architectures.names():
        listed.append((architecture, "notebook", STILL, {}))
        listed.append((architecture, "fast", MOVED, {}))
        listed += [(architecture, "fast", MOVED, {"components": own}) for own in COMPONENTS.get(architecture, [])]
    listed += [(architecture, recipe, STILL, settings) for architecture, recipe, settings in OTHER_RECIPES]
    return {_name(*case): case for case in listed}


def _name(architecture: str, recipe: str, augmentation: dict[str, Any], settings: dict[str, Any]) -> str:
    components = settings.get("components", {})
    values = [str(value) for value in (*settings.values(), *components.values()) if value is not components]
    return ", ".join([architecture, *values, recipe, augmentation["kind"]])


def digest_training(
    architecture: str, recipe: Any, augmentation: dict[str, Any], settings: dict[str, Any]
) -> dict[str, str]:
    """Train a network for two epochs and predict with it; return digests of weights, classes and probabilities."""
    import torch

    from shiftlab.config.params import Augmentation, Training
    from shiftlab.models import architectures
    from shiftlab.networks.fast import fuse
    from shiftlab.training import loop

    dataset = generate_dataset()
    training = Training(**SETTINGS, **settings)
    torch.manual_seed(0)
    model = architectures.build(architecture, dataset.shape, len(dataset.classes), training.components)
    *_, last = loop.fit(
        model, dataset, recipe, training, torch.device("cpu"), augmentation=Augmentation.model_validate(augmentation)
    )
    weights = digest([*last.weights.values(), *last.best.values()])
    model.load_state_dict(last.best)
    with torch.inference_mode():
        probabilities = fuse(model.eval(), dataset.shape)(dataset.test.images).softmax(1)
    return {
        "weights": weights,
        "classes": digest([probabilities.argmax(1)]),
        "probabilities": digest([probabilities]),
    }


def generate_dataset() -> "Dataset":
    """Return grey images of 28x28 pixels, noise crossed by a bright bar whose height tells the class."""
    import torch

    from shiftlab.data.dataset import Dataset, Examples

    generator = torch.Generator().manual_seed(0)
    count = TRAIN + VALIDATION + TEST
    images = torch.randint(0, 150, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 + 2 * label : 6 + 2 * label] = 255
    parts = zip(*(tensor.split([TRAIN, VALIDATION, TEST]) for tensor in (images, labels)), strict=True)
    train, validation, test = (Examples(*part) for part in parts)
    return Dataset(train, validation, test, tuple("0123456789"), (28, 28))


def digest(tensors: "Iterable[Tensor | None]") -> str:
    """Return the first digits of the SHA-256 of the tensors' bytes, in the order of their axes."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        assert tensor is not None
        sha256.update(tensor.detach().contiguous().numpy().tobytes())
    return sha256.hexdigest()[:DIGITS_OF_A_DIGEST]


if __name__ == "__main__":
    main()
