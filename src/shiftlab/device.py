"""Where to compute, and how to get the same bits there every time, and as many of them as on a CPU."""

import os

import torch

from shiftlab import determinism
from shiftlab.config.params import DeviceName
from shiftlab.errors import UserError


def pick(name: DeviceName) -> torch.device:
    """The device to compute on, set up to give the same bits every time, of whole float32.

    Raises:
        UserError: the machine has no such device.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "cpu" or (name == "auto" and found is None):
        return torch.device("cpu")  # its algorithms are deterministic as they are, for one number of threads
    if found is None or name not in ("auto", found.type):
        raise UserError(
            f"device is {name!r}, but PyTorch finds {f'only {found.type}' if found else 'no accelerator'} on this "
            "machine: choose auto or cpu"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's own condition
    torch.use_deterministic_algorithms(True, warn_only=True)  # a user's model may need one that isn't
    # A tenth of ResNet-18's time, and nobody reads it. PyTorch's types do not know of it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # NVIDIA's convolutions would read 10 of 23 bits by default: probabilities were up to 0.002 off (ResNet-18, MNIST).
    # By the older of two interfaces, since after the newer one those who ask the older get an exception.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return found


def description(chosen: torch.device) -> dict[str, str]:
    """The processor's, and the accelerator's name where one computes: the bits are then its own."""
    if chosen.type == "cpu":
        return determinism.description()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    return {**determinism.description(), "accelerator": name}
