"""What a wheel brings: the command, its extras, and all that is no Python."""

import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

from tests.helpers import ROOT, SRC

CORE = {"jinja2", "matplotlib", "numpy", "pillow", "pydantic", "safetensors", "scikit-learn", "scipy", "statsmodels"}
# Not for an audit of a PyTorch model: what must be importable without them.
EXTRA = ("dvc", "mlflow", "onnxruntime", "timm", "torchmetrics", "torchvision", "ruamel", "fastapi", "yaml", "hydra")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--no-build-isolation", "--out-dir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    here = {
        str(path.relative_to(SRC))
        for path in (SRC / "shiftlab").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= held
    assert not [name for name in held if not name.startswith("shiftlab")]
    (about,) = [name for name in held if name.endswith("entry_points.txt")]
    assert "shiftlab = shiftlab.cli:main" in zipfile.ZipFile(wheel).read(about).decode()


def test_core_asks_for_no_more_than_an_audit_needs() -> None:
    wanted = [line for line in requires("shiftlab") or [] if "extra ==" not in line]
    assert {line.partition(">")[0].strip() for line in wanted} == CORE | {"torch", "tqdm", "typer"}


@pytest.mark.slow
def test_audit_runs_where_no_extra_is_installed(tmp_path: Path) -> None:
    """As from the wheel alone: an import of anything else fails."""
    (tmp_path / "model.py").write_text(
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))\n"
    )
    arguments = (
        "audit model.py:build --data digits --mean 0 --std 1 --channels grey --any-accuracy --images 40 --radius 2"
    )
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRA!r}))\n"
        "from shiftlab.cli import app\n"
        f"app({arguments.split()!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "audits/model.py-build/report.html").exists()
