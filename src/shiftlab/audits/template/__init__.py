"""The project that `shiftlab init` writes."""

from importlib import resources
from importlib.metadata import version
from pathlib import Path

from shiftlab import files
from shiftlab.errors import UserError

# What lies here, and where it goes.
FILES = {
    "model.py.txt": "model.py",
    "thresholds.txt": "thresholds.txt",
    "README.md": "README.md",
    "audit.yml": ".github/workflows/audit.yml",
}


def write(folder: Path) -> list[Path]:
    """Write the project into a folder that is missing or empty, and return its files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty: name another folder")
    with files.replacing(folder, ["model.py"]) as new:
        for name, place in FILES.items():
            text = (resources.files(__name__) / name).read_text(encoding="utf-8")
            files.write(new / place, text.replace("VERSION", version("shiftlab")))
    return [folder / place for place in FILES.values()]
