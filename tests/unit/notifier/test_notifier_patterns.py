"""Patterns of event sinks: `*` is anything."""

import pytest

from services.notifier.forms.flussonic import like


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("cam", "cam", True), ("cam", "cam1", False), ("*", "", True), ("*", "anything", True), ("cam*", "cam", True),
        ("cam*", "a cam", False), ("*cam", "a cam", True), ("a*b", "ab", True), ("ab*ba", "aba", False),
        ("a*b*c", "axxbxxc", True), ("a*c*b", "axxbxxc", False), ("*x*x*", "x", False), ("a.c", "abc", False),
        ("**", "x", True), ("*a" * 60, "a" * 59, False), ("*a" * 60, "a" * 60, True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    assert like(pattern, text) is expected
