"""What several test files make: small data sets, a small model, and processes that run the repository's code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shiftlab.config.params import Evaluation
from shiftlab.data.dataset import Dataset, Examples
from shiftlab.networks.classifier import Classifier
from shiftlab.shifts import inference
from shiftlab.shifts.grids import grid
from shiftlab.shifts.inference import InMemory, Progress
from shiftlab.shifts.predictions import GridPredictions, PredictionMetadata, Predictions, SetPredictions
from shiftlab.shifts.protocol import predict_evaluation
from shiftlab.shifts.store import Store

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

DIGITS = tuple("0123456789")
GREY = (1, 28, 28)  # channels, height, width

PARAMETERS: dict[str, Any] = {
    "data": {
        "name": "digits",
        "source": "digits",
        "path": "src/shiftlab/data/sources/digits.py",
        "mirrors": [],
        "test": None,
        "validation": 144,
        "train": None,
        "split_seed": 0,
        "channels": None,
        "resize": None,
        "crop": None,
        "background": None,
        "frame": None,
        "canvas": None,
        "placement": "centred",
    },
    "recipe": "notebook",
    "augmentation": {"kind": "none", "pixels": 0},
    "device": "cpu",
    "threads": 2,
    "model": "mlp",
    "models": {
        "mlp": {
            "lr": 0.001,
            "batch_size": 64,
            "epochs": 10,
            "components": {},
            "initialisation": None,
            "recipe": None,
            "augmentation": None,
        }
    },
    "seeds": [0, 1],
    "evaluation": {
        "radius": 14,
        "boundaries": ["zero", "circular"],
        "images": "all",
        "shifts": "all",
        "phase": 4,
        "seed": 0,
    },
    "tracking": "required",
    "determinism": "portable",
    "preset": None,
    "study": {
        "name": [],
        "seeds": [0, 1],
        "threads": 1,
        "radius": 4,
        "images": 50,
        "shifts": 16,
        "seed": 0,
        "baseline": {
            "architecture": "small",
            "components": {"downsampling": "max"},
            "recipe": "fast",
            "lr": 0.01,
            "batch_size": 32,
            "epochs": 1,
            "augmentation": {"kind": "none", "pixels": 0},
            "canvas": None,
        },
        "variants": {},
        "claims": {},
    },
}


@contextmanager
def settings_put_back() -> Iterator[None]:
    """What `determinism.pick_device` sets for the whole process ends with a test."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, short = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = short


def examples(count: int, seed: int = 0) -> Examples:
    """Noise, crossed by a bright bar whose height tells the digit, inside a margin of four black pixels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 150, (count, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[4 + 2 * label : 6 + 2 * label] = 255
    inside = torch.zeros(28, 28, dtype=torch.uint8)
    inside[4:24, 4:24] = 1
    return Examples((images * inside).unsqueeze(1), labels)


def coloured(count: int, seed: int = 0, size: tuple[int, int] = (20, 26), classes: int = 3) -> Examples:
    """Noise in colour, higher than wide or wider than high, with a bright bar that tells the class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 150, (count, 3, *size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[label % 3, :, 2 * label : 2 * label + 2] = 255
    return Examples(images, labels)


def dataset(train: int, validation: int = 20, test: int = 20) -> Dataset:
    parts = examples(train, seed=1), examples(validation, seed=2), examples(test, seed=3)
    return Dataset(*parts, DIGITS, (28, 28))


def tiny_model() -> Classifier:
    """Small, with all that makes training depend on more than the weights: dropout and batch statistics."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10)
    )
    return Classifier(network, mean=0.5, std=0.5)


ABOUT = PredictionMetadata(
    "digits", "a" * 32, DIGITS, "b" * 32, (1, 28, 28), canvas=False, boundary="zero", parameters=5, multiply_adds=12
)


def predict(
    model: nn.Module,
    test: Examples,
    evaluation: Evaluation,
    metadata: PredictionMetadata = ABOUT,
    store: Store | None = None,
    on_progress: Progress = lambda _: None,
) -> Predictions:
    """Predict in this process, on the CPU."""
    images = InMemory(test.images, metadata.shape[1:])
    return predict_evaluation(
        images, test.labels.numpy(), metadata, evaluation, inference.local(model), store, on_progress
    )


def some_predictions(metadata: PredictionMetadata = ABOUT) -> Predictions:
    """Predictions of four images: all right on `clean`, three on `right5`.

    On the lines, of the grid's images, a shift's row plus the image. On the grid, of radius 1 and with the images 0, 1
    and 3: the first right everywhere, the second above the middle
    row alone, the third in the middle and to the right of it.
    """
    shifts = np.array([[-1, -1], [-1, 0], [0, -1], [0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int8)
    rows, images = np.indices((len(shifts), 3))
    sets = {
        name: SetPredictions(
            np.full((4, 2), (step, 0), dtype=np.int8),
            np.array([1, 2, 3, step], dtype=np.uint8),
            np.array([0.1, 0.25, 0.5, 1.0], dtype=np.float32),
        )
        for name, step in (("right5", 5), ("clean", 0))
    }
    labels = np.array([1, 2, 3, 0], dtype=np.uint8)
    called = [[1, 2, 7], [1, 2, 7], [1, 2, 7], [1, 8, 9], [1, 8, 0], [1, 8, 0], [1, 9, 9], [1, 9, 9], [1, 9, 9]]
    values = np.linspace(0, 0.9, 27).reshape(9, 3)
    return Predictions(
        metadata,
        labels,
        sets,
        line_shifts=shifts,
        on_lines=(rows + images).astype(np.uint8),
        fractions=np.array([0, 0.5], dtype=np.float32),
        on_fractions=np.array([[1, 2, 0], [1, 2, 9]], dtype=np.uint8),
        grid=GridPredictions(
            np.array([0, 1, 3], dtype=np.int32),
            grid(1),
            np.array(called, dtype=np.uint8),
            confidence=(1 - values).astype(np.float16),
            euclidean=values.astype(np.float16),
            cosine=(values / 2).astype(np.float16),
            ink=np.outer([2, 6, 4, 8, 10, 8, 6, 4, 0], [100, 200, 300]).astype(np.int32),
        ),
    )


def isolated_environment() -> dict[str, str]:
    """This process's environment without what DVC, MLflow or a user may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "SHIFTLAB_"))}


def run_python(
    *arguments: str | Path, cwd: Path, package: Path = SRC, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in `cwd`, with the modules in `package` to import."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**isolated_environment(), "PYTHONPATH": str(package), "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
        capture_output=True,
        text=True,
    )
