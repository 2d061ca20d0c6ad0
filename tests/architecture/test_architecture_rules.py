"""House rules about what code does that a machine can check."""

from __future__ import annotations

import ast
import builtins
import re

from tests.support.source_tree import PRODUCT, ROOT, functions, name, sources, tree

SOURCES = sources(*PRODUCT)
LONGEST_HANDLER = 20
MIDDLEWARE = ROOT / "shared/broker/middleware.py"


def test_handlers_are_at_most_twenty_lines() -> None:
    found = []
    for path in (path for path in SOURCES if path.name == "handlers.py"):
        for node in functions(path):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if isinstance(node, ast.AsyncFunctionDef) and length > LONGEST_HANDLER:
                found.append(f"{name(path)}:{node.lineno}: {node.name} has {length} lines")
    assert not found


def test_handlers_have_one_shape() -> None:
    """Each is a method of the service's `Handlers`."""
    found = []
    for path in (path for path in SOURCES if path.name == "app.py"):
        for node in ast.walk(tree(path)):
            handles = isinstance(node, ast.Call) and ast.unparse(node.func) == "service.handle"
            if handles and not all(re.match(r"handlers\.|Handlers\(", ast.unparse(arg)) for arg in node.args[1:]):
                found.append(f"{name(path)}:{node.lineno}")
    assert not found


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and letting the exception go on catches nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_exception_is_caught_in_the_middleware_only() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)) if path != MIDDLEWARE else ():
            if isinstance(node, ast.ExceptHandler) and not _raises_again(node):
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"everything"}
                if names & {"Exception", "BaseException", "everything"}:
                    found.append(f"{name(path)}:{node.lineno}")
    assert not found


def _classes() -> dict[str, set[str]]:
    """Name the classes of all files, and their bases."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(ast.unparse(base).split(".")[-1] for base in node.bases)
    return found


def test_errors_form_one_tree() -> None:
    """Others steer one module, and say so by an underscore."""
    bases = _classes()
    others = {known for known, base in vars(builtins).items() if isinstance(base, type) and issubclass(base, Exception)}
    for each_class in (c for c in bases if c != "ReelayError" and not c.startswith("_")):
        above, seen = {each_class}, set[str]()
        while above:
            seen |= above
            above = {base for each in above for base in bases.get(each, ())} - seen - {"ReelayError"}
        assert not seen & others, each_class


def test_no_download_address_or_path_of_a_machine_is_committed() -> None:
    words = re.compile(r"(?:py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js|deb\.debian" r"\.org)")
    for path in [*ROOT.glob("*.*"), *SOURCES, *(ROOT / "scripts").rglob("*"), *(ROOT / "compose").rglob("*")]:
        if path.is_file() and path.suffix in {".py", ".toml", ".lock", ".md", ".yaml", ".sh", ""}:
            assert not words.search(path.read_text()), path


def test_tests_of_a_room_lie_in_a_folder_of_its_name() -> None:
    found = []
    for layer in ("unit", "integration"):
        for folder in {path.parent for path in sources(f"tests/{layer}")}:
            room = folder.relative_to(ROOT / "tests" / layer)
            if not any((ROOT / top / room).is_dir() for top in ("services", "")):
                found.append(name(folder))
    assert not found
