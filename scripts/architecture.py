"""The tree of modules that docs/architecture.md shows: each one's name and the first line of its docstring."""

import argparse
import ast
from pathlib import Path

# The packages of src/shiftlab by what their code may know: imports go down this list only.
PACKAGES = (
    *("tuning", "audits", "pipeline", "distributed", "study", "tracking", "reports", "training", "metrics", "shifts"),
    *("models", "networks", "data", "config"),
)


def main() -> None:
    """Print the tree."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(tree(), end="")


def tree(root: Path = Path()) -> str:
    """A list in Markdown of the modules of the repository at `root`, packages first and in their order."""
    package = root / "src/shiftlab"
    return "".join(_lines(package, [package / name for name in PACKAGES], depth=0))


def _lines(folder: Path, packages: list[Path], depth: int) -> list[str]:
    lines = []
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    for path in [*packages, *files]:
        name = f"**`{path.name}/`**" if path in packages else f"`{path.name}`"
        lines.append(f"{'    ' * depth}- {name} {_summary(path)}\n")
        if path in packages:
            within = sorted(one.parent for one in path.glob("*/__init__.py"))
            lines += _lines(path, within, depth + 1)
    return lines


def _summary(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
