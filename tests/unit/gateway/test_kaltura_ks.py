"""Sessions of the Kaltura API: what clients make from a secret is read, and nothing else is."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.facades.kaltura import ks

NOW, SECRET = 1_800_000_000, "0123456789abcdef0123456789abcdef"


def first_form(info: str, secret: str = SECRET) -> str:
    signature = hashlib.sha1(secret.encode() + info.encode()).hexdigest()
    return base64.b64encode(f"{signature}|{info}".encode()).decode()


def a_session(**fields: object) -> ks.Session:
    values = {"partner": 102, "kind": ks.ADMIN, "expiry_s": NOW + 60, "user": "producer", **fields}
    return ks.Session(**values)  # type: ignore[arg-type]


def second_form(secret: str = SECRET, **fields: object) -> str:
    return ks.make(a_session(**fields), secret, bytes(range(16)))


def refused(text: str, secret: str = SECRET, address: str = "") -> int:
    with pytest.raises(ks.KsRefused) as error:
        ks.read(text, secret, NOW, address)
    return error.value.number


def test_both_forms_are_read() -> None:
    first = first_form(f"102;102;{NOW + 60};2;77;producer;disableentitlement,edit:0_a")
    second = second_form(privileges=(("disableentitlement", ""), ("edit", "0_a")))
    for text in (first, second, first.rstrip("="), second.rstrip("=")):
        read = ks.read(text, SECRET, NOW)
        assert (read.partner, read.kind, read.user, read.expiry_s) == (102, ks.ADMIN, "producer", NOW + 60)
        assert read.privileges_text == "disableentitlement,edit:0_a"
        assert ks.partner_of(text) == 102
    assert ks.partner_of(second_form(partner=-5)) == -5


@pytest.mark.parametrize("make", [lambda s: first_form(f"102;102;{NOW + 60};2;77;u;", s), second_form])
def test_another_secret_and_any_changed_byte_are_refused(make: object) -> None:
    text = make("other")  # type: ignore[operator]
    assert refused(text) == ks.INVALID_STR
    raw = base64.urlsafe_b64decode(make(SECRET).replace("+", "-").replace("/", "_"))  # type: ignore[operator]
    head = raw.rindex(b"|") if not raw.startswith(b"v2") else 7  # the partner of the second form is not sealed
    for at in range(head, len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert refused(base64.urlsafe_b64encode(changed).decode()) in {ks.INVALID_STR, ks.INVALID_PARTNER}


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"expiry_s": NOW}, ks.EXPIRED), ({"kind": 3}, ks.INVALID_TYPE), ({"user": "u" * 101}, ks.INVALID_USER),
        ({"privileges": (("actionslimit", "1"),)}, ks.ACTIONS_LIMIT),
        ({"privileges": (("urirestrict", "/api_v3/*"),)}, ks.RESTRICTED_URI),
        ({"privileges": (("setrole", "7"),)}, ks.INVALID_LKS),
        ({"privileges": (("iprestrict", "192.0.2.1"),)}, ks.RESTRICTED_IP),
    ],
)  # fmt: skip
def test_a_session_that_may_not_be_used_tells_why(fields: dict[str, object], number: int) -> None:
    assert refused(second_form(**fields)) == number


def test_a_session_of_an_address_is_used_from_there() -> None:
    text = second_form(privileges=(("iprestrict", "192.0.2.1"),))
    assert ks.read(text, SECRET, NOW, "192.0.2.1").partner == 102
    assert refused(first_form(f"102;103;{NOW + 60};2;77;u;")) == ks.INVALID_PARTNER


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_anything_else_is_refused_and_nothing_hangs(text: str) -> None:
    with pytest.raises(ks.KsRefused):
        ks.read(text, SECRET, NOW)


@given(st.binary(max_size=300))
def test_a_session_that_was_sealed_with_the_secret_but_says_nonsense_is_refused(rest: bytes) -> None:
    plain = hashlib.sha1(bytes(16) + rest).digest() + bytes(16) + rest
    sealed = ks._cipher(SECRET).encryptor().update(plain + bytes(-len(plain) % 16))
    text = base64.urlsafe_b64encode(b"v2|102|" + sealed).decode()
    try:
        ks.read(text, SECRET, NOW)
    except ks.KsRefused:
        return
    raise AssertionError("a session without an expiry was taken")
