"""The project's own source, for the tests that check the house rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("shared", "services")


@cache
def sources(*tops: str) -> tuple[Path, ...]:
    """Return the Python files below folders of the repository."""
    return tuple(sorted(path for top in tops for path in (ROOT / top).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    """Return a file's path in the repository."""
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    """Return a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> frozenset[str]:
    """Return what a file imports: modules, and names as if they were modules."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def within(imported: str, package: str) -> bool:
    """Return whether an import is a package or in it."""
    return imported == package or imported.startswith(f"{package}.")


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield a file's string literals with their lines."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield a file's functions and methods."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
