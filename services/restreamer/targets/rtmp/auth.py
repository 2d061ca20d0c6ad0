"""Authentication at RTMP servers: Adobe's and Limelight's schemes, as Wowza, Akamai and others use them.

The server refuses `connect` with a description that names the scheme (`authmod=adobe`, `authmod=llnw`); the client
connects again with its user, is refused with a challenge, and connects a third time with the response, each time in
the application's query. The schemes use MD5.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Final

from services.restreamer.targets.terms import TargetError

_SCHEMES: Final = ("adobe", "llnw")
_REALM, _METHOD, _QUALITY, _COUNT = "live", "publish", "auth", "00000001"


def answer(said: str, user: str, password: str, app: str, *, nonce: str = "") -> str:
    """Return the query to reconnect with after a refusal; empty when the server asks for no authentication.

    `app` is the application without it, `nonce` (8 hex digits) our part of the response. TargetError when the server
    asks for credentials that are missing, or rejects them.
    """
    scheme = next((name for name in _SCHEMES if f"authmod={name}" in said), "")
    if not scheme:
        return ""
    if not user:
        raise TargetError(
            "the server asks for a user and a password: rtmp://user:password@host/application/stream", final=True
        )
    if re.search(r"reason=(authfailed|nosuchuser|badauth)", said):
        raise TargetError("the server does not take this user and password", final=True)
    if "reason=needauth" not in said:
        return f"?authmod={scheme}&user={user}"
    asked = dict(re.findall(r"[?&](\w+)=([^&\s\]]*)", said))
    nonce = nonce or secrets.token_hex(4)
    return _adobe(asked, user, password, nonce) if scheme == "adobe" else _llnw(asked, user, password, app, nonce)


def _adobe(asked: dict[str, str], user: str, password: str, nonce: str) -> str:
    salted = _base64(user + asked.get("salt", "") + password)
    opaque = asked.get("opaque", "")
    response = _base64(salted + (opaque or asked.get("challenge", "")) + nonce)
    told = f"?authmod=adobe&user={user}&challenge={nonce}&response={response}"
    return f"{told}&opaque={opaque}" if opaque else told


def _llnw(asked: dict[str, str], user: str, password: str, app: str, nonce: str) -> str:
    plain = app.partition("?")[0]
    path = plain if "/" in plain else f"{plain}/_definst_"
    known, wanted = _hex(f"{user}:{_REALM}:{password}"), _hex(f"{_METHOD}:/{path}")
    theirs = asked.get("nonce", "")
    response = _hex(f"{known}:{theirs}:{_COUNT}:{nonce}:{_QUALITY}:{wanted}")
    return f"?authmod=llnw&user={user}&nonce={theirs}&cnonce={nonce}&nc={_COUNT}&response={response}"


def _base64(text: str) -> str:
    return base64.b64encode(hashlib.md5(text.encode(), usedforsecurity=False).digest()).decode()


def _hex(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
