"""What stored credentials of each type consist of, checked when they are made or changed. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from services.gateway.domain.errors import Fault, Invalid
from services.gateway.domain.ids import is_id
from shared.messages.credentials import CredentialType, Tls

MASK: Final = "*" * 8
LONGEST_PRIVATE: Final = 16_000
LONGEST_TOKEN: Final = 4096
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_ACCOUNT: Final = re.compile(r"[0-9]{1,32}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FINGERPRINT: Final = re.compile(r"(?<!\S)SHA256:[A-Za-z0-9+/]{43}=?(?!\S)")
_PUBLIC_KEY: Final = re.compile(r"(?<!\S)((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{16,7000}={0,2})(?!\S)")


def fit_label(text: str) -> str:
    """Return a label; ValueError when it could be taken for something else."""
    if not 1 <= len(text) <= 128 or text != text.strip() or _CONTROL.search(text):
        raise ValueError("has 1 to 128 characters, no control characters, and no blanks at its ends")
    if is_id(text):
        raise ValueError("must not look like an id (32 hex digits)")
    return text


@dataclass(frozen=True, slots=True)
class CredentialValues:
    """The values of credentials, secrets in clear: never logged."""

    type: CredentialType = "s3"
    public: str = ""
    private: str = field(default="", repr=False)
    default_for_type: bool = False
    endpoint: str = ""
    region: str = "us-east-1"
    path_style: bool | None = None
    session_token: str = field(default="", repr=False)
    host_key: str = ""
    tls: Tls = ""
    host: str = ""
    account_id: str = ""
    url: str = field(default="", repr=False)


NEW: Final = CredentialValues()
EXTRA: Final[Mapping[CredentialType, frozenset[str]]] = {
    "s3": frozenset({"endpoint", "region", "path_style", "session_token"}),
    "ftp": frozenset({"host", "tls"}),
    "sftp": frozenset({"host", "host_key"}),
    "http": frozenset({"host"}),
    "rtmp": frozenset(),
    "oauth": frozenset({"host", "url"}),
    "videocloud": frozenset({"account_id"}),
}
"""The values that only some types have."""
PRIVATE_NEEDED: Final[frozenset[CredentialType]] = frozenset({"s3", "oauth", "videocloud"})
FIELDS: Final[Mapping[str, str]] = {
    "public": "credential_public", "private": "credential_private", "type": "credential_type", "url": "oauth_settings",
}  # fmt: skip
"""Names of values in requests, where they differ."""


def checked(values: CredentialValues, address: Callable[[str, str], str]) -> CredentialValues:
    """Return values that fit their type; `address` checks and returns a URL, given its field. Invalid lists faults."""
    faults = [Fault(FIELDS.get(name, name), why) for name, why in _faults(values)]
    if faults:
        raise Invalid(*faults)
    return CredentialValues(
        type=values.type,
        public=values.public,
        private=values.private,
        default_for_type=values.default_for_type,
        endpoint=address("endpoint", values.endpoint) if values.endpoint else "",
        region=values.region,
        path_style=values.path_style,
        session_token=values.session_token,
        host_key=values.host_key.strip(),
        tls=values.tls,
        host=values.host.lower(),
        account_id=values.account_id,
        url=address("oauth_settings.url", values.url) if values.url else "",
    )


def _faults(values: CredentialValues) -> list[tuple[str, str]]:
    kind = values.type
    faults = []
    if not values.public:
        faults.append(("public", "is missing"))
    if not values.private and kind in PRIVATE_NEEDED:
        faults.append(("private", "is missing"))
    if _CONTROL.search(values.public):
        faults.append(("public", "must not contain control characters"))
    if _CONTROL.search(values.private) and kind != "sftp":  # a private key has lines
        faults.append(("private", "must not contain control characters"))
    if len(values.private.encode()) > LONGEST_PRIVATE:
        faults.append(("private", f"must have at most {LONGEST_PRIVATE} bytes"))
    if kind == "oauth" and not values.url:
        faults.append(("url", "is missing: the URL that gives tokens"))
    foreign = sorted(set().union(*EXTRA.values()) - EXTRA[kind])
    wrong = [name for name in foreign if getattr(values, name) != getattr(NEW, name)]
    faults += [(name, f"is no part of credentials of type {kind}") for name in wrong]
    return faults + _faults_of_extras(values)


def _faults_of_extras(values: CredentialValues) -> list[tuple[str, str]]:
    faults = []
    if not _REGION.fullmatch(values.region):
        faults.append(("region", "has 1 to 64 letters, digits and -"))
    if _CONTROL.search(values.session_token) or len(values.session_token.encode()) > LONGEST_TOKEN:
        faults.append(("session_token", f"has at most {LONGEST_TOKEN} bytes and no control characters"))
    if values.account_id and not _ACCOUNT.fullmatch(values.account_id):
        faults.append(("account_id", "is a number of up to 32 digits"))
    if values.host and not _HOST.fullmatch(values.host):
        faults.append(("host", "is a host as URLs have it, without port: ftp.example.com"))
    if values.type == "http" and values.default_for_type and not values.host:
        faults.append(("host", "is missing: default credentials of type http are for one host, and sent to no other"))
    if values.host_key and not _are_host_keys(values.host_key):
        faults.append(("host_key", "is a public key as in known_hosts (ssh-ed25519 AAAA...) or SHA256:..."))
    return faults


def _are_host_keys(text: str) -> bool:
    """Return whether each line names a key: as in known_hosts, as `ssh-keygen -l` tells it, or by itself."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and all(_is_host_key(line) for line in lines)


def _is_host_key(line: str) -> bool:
    if line.lstrip().startswith("@"):  # known_hosts has marks for keys that are revoked, or sign others
        return False
    if _FINGERPRINT.search(line):
        return True
    found = _PUBLIC_KEY.search(line)
    if not found:
        return False
    try:
        blob = base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        return False
    name = found[1].encode()  # RFC 4253, 6.6: the key itself begins with its type's name
    return blob.startswith(len(name).to_bytes(4) + name)


def masked(private: str) -> str:
    """Return what may be shown of a secret: its last two characters, none of one shorter than six."""
    text = private.rstrip()
    if not text:
        return ""
    return MASK + (text[-2:] if len(text) >= 6 else "")
