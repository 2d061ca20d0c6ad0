"""Sessions (KS) as clients make them from a partner's secret, read and verified; pure.

- v1: base64 of `<hex sha1(secret + info)>|<info>`, where info is
  `partner;partner;expiry;type;random;user;privileges[;...]`.
- v2: base64 of `v2|<partner>|` and AES-128-CBC (key: the first 16 bytes of sha1(secret), IV and padding zeros)
  of `sha1(R) + R`, R = 16 random bytes and urlencoded fields: privileges, `_e` expiry, `_t` type, `_u` user.

Source: generateSession and generateSessionV2 of the vendor's client libraries; the numbers of errors are its server's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.gateway.domain.errors import Denied

USER, WIDGET, ADMIN = 0, 1, 2
LONGEST: Final = 4096
LONGEST_USER: Final = 100
MOST_FIELDS: Final = 64
_BLOCK, _RANDOM, _DIGEST = 16, 16, 20
_NO_DIGITS: Final = 19
"""An expiry has fewer digits."""
INVALID_STR, INVALID_PARTNER, INVALID_USER, INVALID_TYPE = -1, -2, -3, -4
EXPIRED, LOGOUT, INVALID_LKS, ACTIONS_LIMIT, RESTRICTED_IP, RESTRICTED_URI = -5, -6, -7, -8, -9, -11
NAMES: Final = {
    INVALID_STR: "INVALID_STR", INVALID_PARTNER: "INVALID_PARTNER", INVALID_USER: "INVALID_USER",
    INVALID_TYPE: "INVALID_TYPE", EXPIRED: "EXPIRED", LOGOUT: "LOGOUT", INVALID_LKS: "INVALID_LKS",
    ACTIONS_LIMIT: "EXCEEDED_ACTIONS_LIMIT", RESTRICTED_IP: "EXCEEDED_RESTRICTED_IP",
    RESTRICTED_URI: "EXCEEDED_RESTRICTED_URI",
}  # fmt: skip
_UNENFORCED: Final = {"actionslimit": ACTIONS_LIMIT, "urirestrict": RESTRICTED_URI, "setrole": INVALID_LKS}


class KsRefused(Denied):
    """A KS is not valid: `number` says why, as the vendor numbers it. The message repeats nothing of it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{number},{NAMES[number]}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Session:
    """What a KS says; `expiry_s` is in s since the epoch."""

    partner: int
    kind: int
    expiry_s: int
    user: str = field(default="", repr=False)
    privileges: tuple[tuple[str, str], ...] = ()

    @property
    def privileges_text(self) -> str:
        """The privileges as a client writes them."""
        return ",".join(f"{name}:{value}" if value else name for name, value in self.privileges)


def partner_of(text: str) -> int:
    """Return the number of the partner whose secret is to verify a KS. Raise KsRefused."""
    raw = _raw(text)
    if raw.startswith(b"v2|"):
        return _number(raw[3:].partition(b"|")[0].decode("latin-1"))
    return _number(_info(raw)[0])


def read(text: str, secret: str, now_s: int, address: str = "") -> Session:
    """Return a KS that was made with a secret and may be used now, by that address. Raise KsRefused."""
    raw = _raw(text)
    session = _v2(raw, secret) if raw.startswith(b"v2|") else _v1(raw, secret)
    if session.kind not in {USER, WIDGET, ADMIN}:
        raise KsRefused(INVALID_TYPE)
    if len(session.user) > LONGEST_USER:
        raise KsRefused(INVALID_USER)
    if session.expiry_s <= now_s:
        raise KsRefused(EXPIRED)
    for name, value in session.privileges:
        if name in _UNENFORCED:
            raise KsRefused(_UNENFORCED[name])
        if name == "iprestrict" and value != address:
            raise KsRefused(RESTRICTED_IP)
    return session


def identity(text: str) -> bytes:
    """Return the part of a KS that is signed: the same, however the rest of it is written. Raise KsRefused."""
    raw = _raw(text)
    return raw.split(b"|", 2)[2] if raw.startswith(b"v2|") and raw.count(b"|") > 1 else raw.partition(b"|")[2]


def make(session: Session, secret: str, random: bytes) -> str:
    """Return a KS of the second form; `random` is 16 bytes."""
    fields = [*session.privileges, ("_e", str(session.expiry_s)), ("_t", str(session.kind)), ("_u", session.user)]
    plain = random + urlencode(fields).encode()
    plain = hashlib.sha1(plain, usedforsecurity=False).digest() + plain
    encryptor = _cipher(secret).encryptor()
    sealed = encryptor.update(plain + bytes(-len(plain) % _BLOCK)) + encryptor.finalize()
    return base64.urlsafe_b64encode(f"v2|{session.partner}|".encode() + sealed).decode()


def privileges_of(text: str) -> tuple[tuple[str, str], ...]:
    """Return privileges as a client writes them: `name:value,name`; `*` is `all:*`. ValueError when too many."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if len(found) > MOST_FIELDS - 4:
        raise ValueError("too many privileges")
    pairs = (("all:*" if part == "*" else part).partition(":") for part in found)
    return tuple((name, value) for name, _, value in pairs)


def _raw(text: str) -> bytes:
    if not text or len(text) > LONGEST or not text.isascii():
        raise KsRefused(INVALID_STR)
    text = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise KsRefused(INVALID_STR) from None


def _number(text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) >= _NO_DIGITS:
        raise KsRefused(INVALID_STR)
    return int(text)


def _info(raw: bytes) -> list[str]:
    _, mark, info = raw.partition(b"|")
    try:
        fields = info.decode().split(";")
    except UnicodeDecodeError:
        raise KsRefused(INVALID_STR) from None
    if not mark or len(fields) < 6:
        raise KsRefused(INVALID_STR)
    return fields


def _v1(raw: bytes, secret: str) -> Session:
    signature, _, info = raw.partition(b"|")
    right = hashlib.sha1(secret.encode() + info, usedforsecurity=False).hexdigest()
    if not hmac.compare_digest(right.encode(), signature.lower()):
        raise KsRefused(INVALID_STR)
    partner, pattern, expiry, kind, _random, user, *rest = _info(raw)
    if partner != pattern:
        raise KsRefused(INVALID_PARTNER)
    return _session(partner, expiry, kind, user, _split(rest[0] if rest else ""))


def _v2(raw: bytes, secret: str) -> Session:
    partner, _, sealed = raw[3:].partition(b"|")
    if len(sealed) < _DIGEST + _RANDOM or len(sealed) % _BLOCK:
        raise KsRefused(INVALID_STR)
    decryptor = _cipher(secret).decryptor()
    plain = (decryptor.update(sealed) + decryptor.finalize()).rstrip(b"\0")
    right = hashlib.sha1(plain[_DIGEST:], usedforsecurity=False).digest()
    if not hmac.compare_digest(right, plain[:_DIGEST]):
        raise KsRefused(INVALID_STR)
    try:
        text = plain[_DIGEST + _RANDOM :].decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:  # includes UnicodeDecodeError
        raise KsRefused(INVALID_STR) from None
    own = {name: value for name, value in pairs if name in {"_e", "_t", "_u"}}
    privileges = tuple((name, value) for name, value in pairs if not name.startswith("_"))
    return _session(partner.decode("latin-1"), own.get("_e", ""), own.get("_t", ""), own.get("_u", ""), privileges)


def _session(partner: str, expiry: str, kind: str, user: str, privileges: tuple[tuple[str, str], ...]) -> Session:
    return Session(_number(partner), _number(kind), _number(expiry), user, privileges)


def _split(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return privileges_of(text)
    except ValueError:
        raise KsRefused(INVALID_STR) from None


def _cipher(secret: str) -> Cipher[modes.CBC]:
    key = hashlib.sha1(secret.encode(), usedforsecurity=False).digest()[:_BLOCK]
    return Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK)))
