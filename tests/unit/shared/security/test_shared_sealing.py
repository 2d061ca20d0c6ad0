"""Encryption at rest: what opens with which key, what is changed, and what older installations have stored."""

import base64

import pytest
from pydantic import SecretStr

from shared.runtime.settings import Settings
from shared.security.secrets import SecretUnreadable, Vault, older_keys

OLD, NEW = b"an older key", b"the present key"
# Made by the version before, with the key OLD and for the purpose "a".
FERNET = "gAAAAABrCemyOYQOpnQtUR3Kvz_WJag-vEkBSoh0UkGbCMcPldu-oLFwAQSmqQpdd3ko_Ofzh2X8kDDNs2e8dl5JmCsraYgIag=="


@pytest.mark.parametrize("text", ["", "secret", "p\u00e4ssw\u00f6rd \U0001f511", "x" * 16_000, "-----BEGIN\nKEY\n"])
def test_a_text_comes_back_as_it_was_and_never_looks_the_same_twice(text: str) -> None:
    vault = Vault(NEW)
    one, two = vault.encrypt(text, "a"), vault.encrypt(text, "a")
    assert vault.decrypt(one, "a") == vault.decrypt(two, "a") == text
    assert one != two
    assert not text or text not in one
    assert one.isascii()


def test_a_changed_token_never_opens() -> None:
    vault = Vault(NEW)
    token = vault.encrypt("secret", "a")
    version, ident, body = token.split(".")
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    turned = [raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :] for n in range(len(raw))]
    bodies = [base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in [*turned, raw[:-1], raw[:27], b""]]
    changed = [f"{version}.{ident}.{one}" for one in bodies]
    changed += [
        f"v3.{ident}.{body}",
        f"{version}.00000000.{body}",
        f"{version}.{body}",
        f"{token}*",
        "\u00e9",
        "",
        "v2.",
    ]
    for one in changed:
        with pytest.raises(SecretUnreadable):
            vault.decrypt(one, "a")


def test_a_token_tells_its_key_and_opens_with_no_other() -> None:
    old, new = Vault(OLD), Vault(NEW)
    token = old.encrypt("secret", "a")
    assert old.is_current(token)
    assert not new.is_current(token)
    with pytest.raises(SecretUnreadable):
        new.decrypt(token, "a")


def test_what_an_older_key_sealed_or_signed_is_taken_and_nothing_new_is_made_with_it() -> None:
    token, signature = Vault(OLD).encrypt("secret", "a"), Vault(OLD).sign("text", "a")
    both = Vault(NEW, [b"one between", OLD])
    assert both.decrypt(token, "a") == "secret"
    assert both.verify("text", signature, "a")
    assert not both.verify("text", signature, "b")
    assert not Vault(NEW).verify("text", signature, "a")
    assert Vault(NEW).decrypt(both.encrypt("secret", "a"), "a") == "secret"
    assert both.sign("text", "a") == Vault(NEW).sign("text", "a")
    with pytest.raises(SecretUnreadable):
        both.decrypt(token, "b")


def test_tokens_of_the_version_before_still_open_with_their_key() -> None:
    for vault in (Vault(OLD), Vault(NEW, [OLD])):
        assert vault.decrypt(FERNET, "a") == "secret"
        assert not vault.is_current(FERNET)
    for vault, purpose in ((Vault(NEW), "a"), (Vault(OLD), "b")):
        with pytest.raises(SecretUnreadable):
            vault.decrypt(FERNET, purpose)


def test_older_keys_are_named_with_commas() -> None:
    assert older_keys(Settings(secret_keys_old=SecretStr(" one, ,two,"))) == [b"one", b"two"]
    assert older_keys(Settings()) == []
    assert not Vault(NEW, []).changes_key
    assert Vault(NEW, [OLD]).changes_key
