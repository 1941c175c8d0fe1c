"""The modules of this package that a module needs, and a digest of their code."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent


def digest(*names: str) -> str:
    """Return the MD5 of the code of modules and of all that they import, which changes with each of these files."""
    md5 = hashlib.md5(usedforsecurity=False)
    files = _files()
    for name in closure(*names):
        md5.update(f"{name}\n".encode() + files[name].read_bytes())
    return md5.hexdigest()


def closure(*names: str) -> list[str]:
    """Return the names of modules and of all modules of this package that they import, in functions too, sorted.

    What is imported for types alone does not count. What a registry loads by its name is not seen: name it.

    Args:
        names: of modules, as "shiftlab.training.loop"; that of a package stands for all modules in it.

    Raises:
        FileNotFoundError: there is no such module.
    """
    files = _files()
    known, waiting = set[str](), set[str]()
    for name in names:
        if name not in files:
            raise FileNotFoundError(f"no module {name}")
        inside = {module for module in files if module.startswith(f"{name}.")}
        waiting |= {name, *inside, *_packages_around(name)} & files.keys()
    while waiting:
        known |= waiting
        waiting = {module for name in waiting for module in _imports(files[name])} & files.keys() - known
    return sorted(known)


def _files() -> dict[str, Path]:
    """Return the files of this package's modules, by the modules' names."""
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


def _imports(path: Path) -> Iterator[str]:
    """Yield the names that a module imports, modules' or not, and the packages around them."""
    for node in _statements(ast.parse(path.read_bytes())):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            yield from (name, *_packages_around(name))


def _packages_around(name: str) -> list[str]:
    """Return the names of the packages around a module, but for the outermost."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(2, len(parts))]


def _statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a module, without those for types alone."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _statements(child)
