"""Settings of the processor's libraries: the same bits on every x86 processor, or as fast as this one can.

Beside them are what changes no bit: how long idle threads wait, and that freed memory is kept for the next batch.

PyTorch's libraries read these settings once, when they are loaded, so `prepare` comes before `import torch`, and
`pick_device` after it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shiftlab.config.params import Determinism, DeviceName
from shiftlab.errors import UserError

if TYPE_CHECKING:
    import torch

# Idle threads of a pool give up their core soon; libgomp's own patience of milliseconds halves what two trainings on
# two cores do together.
IDLE_THREADS = {"GOMP_SPINCOUNT": "1000"}
# The same instructions on every x86 processor of the last ten years, whatever else it could do: PyTorch's own kernels,
# oneDNN's, MKL's and OpenBLAS's. With the kernels of `portable.py` that is what `portable` means. It has its price: on
# an Intel Xeon with AVX-512 half of large matrix products (docs/verify.md).
INSTRUCTIONS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's products depend on it
}
THREADS = "SHIFTLAB_THREADS"  # that a stage takes where several run at a time and its bits do not depend on them
WITHOUT_AVX2 = (
    "determinism is portable, but this processor is no x86 with AVX2: bytes are the same each time on this machine, "
    "with these versions and as many threads, and not on others"
)
CONTRADICTED = "bytes may not be those that determinism: portable gives elsewhere; unset it for those"
# glibc's malloc gives blocks of megabytes back to the system when they are freed, and the system fills each of their
# pages with zeros when they are asked for again: in a virtual machine half of the time of an evaluation whose maps are
# large, a fifth of a training's. The numbers are glibc's, of options that these variables set where a process begins.
LARGEST_INT = 2**31 - 1  # bytes
MALLOC = {"MALLOC_TRIM_THRESHOLD_": (-1, LARGEST_INT), "MALLOC_MMAP_THRESHOLD_": (-3, LARGEST_INT)}


_prepared: Determinism = "native"  # what `prepare` was called with last


def prepare(determinism: Determinism) -> None:
    """Set the environment variables that the user has not set. A PyTorch that is imported already keeps its kernels.

    Args:
        determinism: "portable" holds kernels to instructions that every x86 processor has, "native" leaves them alone.
    """
    global _prepared  # as the environment, it is of the whole process
    _prepared = determinism
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in IDLE_THREADS.items():
            os.environ.setdefault(name, value)
    if is_portable():
        for name, value in INSTRUCTIONS.items():
            if os.environ.setdefault(name, value).lower() != value.lower():
                print(f"note: {name}={os.environ[name]} is kept, so that {CONTRADICTED}", file=sys.stderr)
    elif determinism == "portable":
        print(f"note: {WITHOUT_AVX2}", file=sys.stderr)
    _keep_memory()


def is_portable() -> bool:
    """Return whether kernels are those whose bits are the same on every x86 processor, with any number of threads."""
    return _prepared == "portable" and has("avx2")


def set_threads(threads: int) -> None:
    """Have PyTorch compute with so many threads; a portable stage with as few as the runner of several stages says."""
    import torch

    torch.set_num_threads(int(os.environ.get(THREADS, threads)) if is_portable() else threads)


def pick_device(name: DeviceName) -> torch.device:
    """Return the device to compute on, set up to give the same bits every time, of whole float32.

    Raises:
        UserError: the machine has no such device.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "cpu" or (name == "auto" and accelerator is None):
        if is_portable():
            from shiftlab import portable

            portable.install()
        return torch.device("cpu")  # PyTorch's own algorithms are deterministic as they are, for one number of threads
    if accelerator is None or name not in ("auto", accelerator.type):
        others = f"only {accelerator.type}" if accelerator else "no accelerator"
        raise UserError(f"device is {name!r}, but PyTorch finds {others} on this machine: choose auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's own condition
    torch.use_deterministic_algorithms(True, warn_only=True)  # a user's model may need one that isn't
    # A tenth of ResNet-18's time, and nobody reads it. PyTorch's types do not know of it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # NVIDIA's convolutions would read 10 of 23 bits by default: probabilities were up to 0.002 off (ResNet-18, MNIST).
    # By the older of two interfaces, since after the newer one those who ask the older get an exception.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return accelerator


def description(device: torch.device | None = None) -> dict[str, str]:
    """Return what the last bits of a result depend on besides code and data: processor, instructions, versions, ..."""
    import torch

    own = [f"{key}={os.environ[key]}" for key, value in INSTRUCTIONS.items() if os.environ.get(key, value) != value]
    facts = {
        "processor": name(),
        "determinism": _prepared,
        "instructions": ", ".join([torch.backends.cpu.get_cpu_capability(), *own]),
        "threads": "any number" if is_portable() else str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device is None or device.type == "cpu":
        return facts
    return {**facts, "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type}


def name() -> str:
    """Return the processor's name, as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def has(instructions: str) -> bool:
    """Return whether the processor has these instructions, by Linux's name for them, as "avx512f"."""
    return instructions in _cpuinfo("flags").split()


def _keep_memory() -> None:
    """Have malloc keep freed memory until the process ends. Without effect where it is not glibc's."""
    if sys.platform != "linux":
        return
    malloc = ctypes.CDLL(None)
    if hasattr(malloc, "mallopt"):
        for name, (option, size) in MALLOC.items():
            if name not in os.environ:
                malloc.mallopt(option, size)


def _cpuinfo(key: str) -> str:
    """Return the value of a key of the first processor in /proc/cpuinfo; empty on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
