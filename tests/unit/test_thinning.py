"""`make test` runs a few cases of each matrix, and leaves no test out."""

from __future__ import annotations

import pytest

from tests.support.thinning import KEPT, chosen, left_out

pytest_plugins = ["pytester"]
PROGRAM = """
import pytest
@pytest.mark.parametrize("case", range(10))
def test_many(case): pass
@pytest.mark.parametrize("case", range(3))
def test_few(case): pass
def test_one(): pass
@pytest.mark.soak
@pytest.mark.parametrize("case", range(10))
def test_long(case): pass
"""


@pytest.mark.parametrize(("count", "kept"), [(0, []), (1, [0]), (3, [0, 1, 2]), (4, [0, 1, 3]), (10, [0, 4, 9])])
def test_the_first_the_last_and_one_between_are_kept(count: int, kept: list[int]) -> None:
    assert sorted(chosen(count)) == kept
    assert len(kept) <= KEPT


@pytest.mark.parametrize(("layer", "most"), [("integration", 3), ("e2e", 3), ("unit", 10)])
def test_only_slow_layers_are_thinned(pytester: pytest.Pytester, layer: str, most: int) -> None:
    pytester.makeini("[pytest]\nmarkers = soak\n")
    folder = pytester.mkpydir("tests") / layer
    folder.mkdir()
    (folder / "test_it.py").write_text(PROGRAM)
    items, _ = pytester.inline_genitems(f"tests/{layer}/test_it.py")
    out = left_out(items)
    kept = [item.name for item in items if item.nodeid not in out]
    assert sum(name.startswith("test_many") for name in kept) == most
    assert sum(name.startswith("test_few") for name in kept) == 3
    assert "test_one" in kept
    assert sum(name.startswith("test_long") for name in kept) == 10
