"""docs/operations.md against shared/runtime/settings.py: every setting is in its table, with its default."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
# What the set-up script reads before there are any services.
SET_UP = {"REELAY_SETUP_APT", "REELAY_IMAGES"}


def shown(default: Any) -> str:
    if isinstance(default, timedelta):
        days, rest = divmod(default, timedelta(days=1))
        return f"P{days}D" if not rest else f"PT{default // timedelta(seconds=1)}S"
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_holds_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(REELAY_\w+)` \| (?:`([^`]*)`)? ?\|", OPERATIONS, re.MULTILINE)
    assert dict(rows) == {f"REELAY_{name.upper()}": shown(f.default) for name, f in Settings.model_fields.items()}
    assert len(rows) == len(Settings.model_fields)


def test_a_default_as_the_table_shows_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.setenv(f"REELAY_{name.upper()}", shown(field.default))
    settings = Settings()
    for name, field in Settings.model_fields.items():
        assert getattr(settings, name) == field.default, name


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    known = {f"REELAY_{name.upper()}" for name in Settings.model_fields} | SET_UP
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        named = set(re.findall(r"\bREELAY_[A-Z][A-Z_]*[A-Z]\b", document.read_text()))
        assert named <= known, f"{document.name}: {named - known}"
