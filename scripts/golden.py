"""Digests of short trainings and predictions of every architecture: do changes of the code change bytes?

They are printed; with --write they become those of this kind of processor and PyTorch in tests/golden.json.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftlab import determinism, files

if TYPE_CHECKING:
    from torch import Tensor

    from shiftlab.data.dataset import Dataset

DIGESTS = Path(__file__).parents[1] / "tests" / "golden.json"
DIGITS_OF_A_DIGEST = 16  # of SHA-256's 64, to keep the file short
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
    """Print the digests by their kind, or write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the digests to tests/golden.json")
    write = parser.parse_args().write
    determinism.prepare("portable")  # before PyTorch is imported
    import torch

    torch.set_num_threads(1)
    digests = {kind(): {name: digest_training(*case) for name, case in cases().items()}}
    if not write:
        print(json.dumps(digests))
        return
    committed = json.loads(DIGESTS.read_text(encoding="utf-8")) if DIGESTS.exists() else {}
    files.write(DIGESTS, json.dumps({**committed, **digests}, indent=1, sort_keys=True) + "\n")
    print(f"{DIGESTS.name} has the digests of: {kind()}")


def kind() -> str:
    """Return what digests depend on besides the code: the processor's maker, its instructions, PyTorch's version."""
    machine = determinism.description()
    return f"{determinism.maker()}, {machine['instructions']}, PyTorch {machine['torch']}"


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


def digest(tensors: "Iterable[Tensor]") -> str:
    """Return the first digits of the SHA-256 of the tensors' bytes, in the order of their axes."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        sha256.update(tensor.detach().contiguous().numpy().tobytes())
    return sha256.hexdigest()[:DIGITS_OF_A_DIGEST]


if __name__ == "__main__":
    main()
