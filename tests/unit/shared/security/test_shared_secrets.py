"""Files that hold secrets, and the vault."""

import os
from pathlib import Path

import pytest

from services.gateway.identity.admin_key import read_or_make
from shared.runtime.settings import Settings
from shared.security.secrets import SecretUnreadable, Vault, installation_key, redact_url, write_private


def test_a_private_file_is_written_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.key"
    assert write_private(path, "one")
    assert not write_private(path, "two")
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["a.key"]


def test_a_disk_that_is_full_leaves_no_part_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "a.key", "secret")
    assert not list(tmp_path.iterdir())


def test_an_installation_has_one_key_and_never_an_empty_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    key = installation_key(settings)
    assert len(key) >= 32
    assert installation_key(settings) == key
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(OSError, match="empty"):
        installation_key(settings)


def test_an_empty_admin_key_is_no_key(tmp_path: Path) -> None:
    text, made = read_or_make(tmp_path)
    assert made
    assert read_or_make(tmp_path) == (text, False)
    (tmp_path / "admin.key").write_text("")
    with pytest.raises(OSError, match="empty"):
        read_or_make(tmp_path)


def test_what_is_encrypted_for_one_purpose_opens_for_no_other(tmp_path: Path) -> None:
    vault = Vault(installation_key(Settings(data_dir=tmp_path)))
    token = vault.encrypt("secret", "a")
    assert vault.decrypt(token, "a") == "secret"
    with pytest.raises(SecretUnreadable):
        vault.decrypt(token, "b")
    assert vault.verify("text", vault.sign("text", "a"), "a")
    assert not vault.verify("text", vault.sign("text", "a"), "b")
    assert not vault.verify("text", "\u00e9" * 43, "a")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@host:8080/a?token=x#f", "http://***@host:8080/a?***"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("http://[::1", "***"),
        ("http://host:99999/", "***"),
    ],
)
def test_a_shown_url_holds_no_secret(url: str, shown: str) -> None:
    assert redact_url(url) == shown
