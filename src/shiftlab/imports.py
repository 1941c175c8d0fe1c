"""The modules of this package that a module needs, and a digest of their code."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent


def digest(*names: str) -> str:
    """Return the MD5 of the code of modules and of all that they import, which changes with each of these files."""
    md5 = hashlib.md5(usedforsecurity=False)
    for name in closure(*names):
        md5.update(f"{name}\n".encode() + _path(name).read_bytes())
    return md5.hexdigest()


def closure(*names: str) -> list[str]:
    """Return the names of modules and of all modules of this package that they import, in functions too, sorted.

    What is imported for types alone does not count. What a registry loads by its name is not seen: name it.

    Args:
        names: of modules, as "shiftlab.training.loop"; that of a package stands for all modules in it.

    Raises:
        FileNotFoundError: there is no such module.
    """
    known: set[str] = set()
    waiting = {around for name in names for module in _modules(name) for around in _with_packages(module)}
    while waiting:
        known |= waiting
        waiting = {imported for name in waiting for imported in _imports(name)} - known
    return sorted(known)


def _modules(name: str) -> list[str]:
    path = _path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no module {name}")
    if path.name != "__init__.py":
        return [name]
    inside = [module.relative_to(path.parent).with_suffix("") for module in path.parent.rglob("*.py")]
    return [".".join([name, *module.parts]).removesuffix(".__init__") for module in inside]


def _imports(name: str) -> Iterator[str]:
    """Yield the modules of this package that a module imports, and the packages around them."""
    for node in _statements(ast.parse(_path(name).read_bytes())):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        else:
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (around for module in imported for around in _with_packages(module))


def _with_packages(name: str) -> list[str]:
    """Return a module's name and those of the packages around it, as far as they are files of this package."""
    first, *parts = name.split(".")
    if first != ROOT.name:
        return []
    around = [".".join([first, *parts[:count]]) for count in range(1, len(parts) + 1)]
    return [module for module in around if _path(module).is_file()]


def _statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a module, without those for types alone."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _statements(child)


def _path(name: str) -> Path:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
