"""A service that uses no secret has none."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from shared.runtime.service import make_service
from shared.runtime.settings import Settings


@pytest.mark.parametrize("name", ["archiver", "proxy-encoder", "scheduler"])
def test_a_service_without_secrets_makes_no_key(name: str, tmp_path: Path) -> None:
    service = make_service(name, Settings(data_dir=tmp_path))
    import_module(f"services.{name.replace('-', '_')}.app").build(service)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_key_is_made_once_when_it_is_asked_for(tmp_path: Path) -> None:
    service = make_service("clipper", Settings(data_dir=tmp_path))
    assert not (tmp_path / "secret.key").exists()
    assert service.vault is service.vault
    assert (tmp_path / "secret.key").exists()
