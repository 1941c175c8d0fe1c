"""How the processor is to compute: the same bits on every kind, and without taking the cores from a neighbour.

PyTorch's libraries read these settings once, when they are loaded, so `prepare` comes before `import torch`.
"""

import os
import platform
from pathlib import Path

# Idle threads of a pool give up their core soon; libgomp's own patience of milliseconds halves what two trainings on
# two cores do together.
WAITING = {"GOMP_SPINCOUNT": "1000"}
# The same instructions on every x86 processor of the last ten years, whatever else it could do: PyTorch's own kernels,
# oneDNN's, MKL's and OpenBLAS's. On one with AVX-512, ResNet-18's evaluation is a tenth slower so, and nothing else.
INSTRUCTIONS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


def prepare() -> None:
    """Set what the user has not set. It has no effect on a PyTorch that is imported already."""
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)
    if "avx2" in _flags():
        for name, value in INSTRUCTIONS.items():
            os.environ.setdefault(name, value)


def use(threads: int) -> None:
    """Compute with so many threads, as many as cores or not: their number decides the last bits of a sum."""
    import torch

    torch.set_num_threads(threads)


def description() -> dict[str, str]:
    """What the last bits of a result depend on besides code and data: processor, instructions, threads, versions."""
    import torch

    return {
        "processor": name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def name() -> str:
    """The processor's name, as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _flags() -> set[str]:
    return set(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
