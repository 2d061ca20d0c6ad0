"""From users' URLs of files and targets to the parts of a restream: checked, sealed, and redacted for people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from fractions import Fraction
from ipaddress import ip_network
from typing import Final
from urllib.parse import parse_qs, urlsplit

from services.gateway.domain.errors import invalid
from services.gateway.domain.ids import is_id
from shared.errors import Rejected
from shared.messages.restreams import FLICKS, LONGEST, MOST_TARGETS, Range, Source, Target
from shared.rtmp.address import split_rtmp
from shared.security.netguard import check_url
from shared.security.netguard.addresses import Networks
from shared.security.secrets import Vault, redact_url
from shared.security.webhooks import seal_url

FILE_SCHEMES: Final = frozenset({"http", "https"})
TARGET_SCHEMES: Final = frozenset({"rtmp", "rtmps", "srt"})
TARGET_PURPOSE: Final = "restream-target"
_OWN: Final = re.compile(r"reelay:(clip|recording|library)/(.+)")
_BUCKET_FILE: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f]{1,1024}")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f\\]{1,1024}")
_EVERYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def restream_id(account: str, name: str) -> str:
    """Return the id of the restream that a customer of the CDNetworks API calls `name`."""
    return hashlib.sha256(f"cdn\0{account}\0{name}".encode()).hexdigest()[:32]


class Parts:
    """Makes sources and targets. Raises Invalid, which names the bad field."""

    def __init__(self, vault: Vault, networks: Networks) -> None:
        self._vault = vault
        self._networks = networks

    def source(self, field: str, url: str, credentials: str = "") -> Source:
        """Parse a file's URL: http(s), s3://bucket/key, or reelay: clip/<id>, recording/<id>, library/<path>.

        The user and password of an http(s) URL become Basic authentication.
        """
        if own := _OWN.fullmatch(url):
            return _own(field, own[1], own[2])
        if url.lower().startswith("s3://"):
            return _bucket_file(field, url, credentials)
        checked = self._checked(field, url, FILE_SCHEMES, self._networks, credentials=True)
        return Source(kind="url", location=seal_url(self._vault, checked), shown=redact_url(checked))

    def target(self, field: str, url: str) -> Target:
        """Parse a target's URL: rtmp(s)://host/app/key, or srt:// (mode=listener waits for a caller)."""
        url = url.strip()
        if url.lower().startswith("rtmp"):
            return self._rtmp_target(field, url)
        listens = url.lower().startswith("srt:") and _mode(url) == "listener"
        checked = self._checked(field, url, TARGET_SCHEMES, _EVERYWHERE if listens else self._networks)
        return self._target(checked, redact_url(checked))

    def _rtmp_target(self, field: str, url: str) -> Target:
        checked = self._checked(field, url, TARGET_SCHEMES, self._networks, credentials=True)
        try:
            found = split_rtmp(checked)
        except ValueError as error:
            raise invalid(field, str(error)) from error
        return self._target(found.url, found.shown)

    def _target(self, url: str, shown: str) -> Target:
        return Target(target=self._vault.fingerprint(url, TARGET_PURPOSE), url=seal_url(self._vault, url), shown=shown)

    def targets(self, named: Iterable[tuple[str, str]]) -> tuple[Target, ...]:
        """Parse several targets from (field, URL); each counts once."""
        found = {target.target: target for field, url in named for target in (self.target(field, url),)}
        if len(found) > MOST_TARGETS:
            raise invalid("targets", f"a restream has at most {MOST_TARGETS}")
        return tuple(found.values())

    def _checked(
        self, field: str, url: str, schemes: Collection[str], allowed: Networks, *, credentials: bool = False
    ) -> str:
        try:
            return check_url(url, schemes=schemes, allowed=allowed, credentials=credentials).url
        except Rejected as error:
            raise invalid(field, str(error)) from error


def file_range(field: str, start: Fraction, end: Fraction | None) -> Range:
    """Return a range of a file from seconds. Raise Invalid."""
    first, last = position(field, start), None if end is None else position(field, end)
    if last is not None and last <= first:
        raise invalid(field, "must end after its beginning")
    return Range(start=first, end=last)


def position(field: str, seconds: Fraction) -> int:
    """Return a position in a file in flicks from its start. Raise Invalid."""
    if not 0 <= seconds <= LONGEST:
        raise invalid(field, f"must be from 0 to {LONGEST} s")
    return round(seconds * FLICKS)


def wall_range(field: str, start_ms: int, end_ms: int) -> Range:
    """Return a range of a recording by wall clock. Raise Invalid."""
    if not 0 <= start_ms < end_ms:
        raise invalid(field, "must end after its beginning")
    return Range(clock="wall", start=start_ms, end=end_ms)


def _mode(url: str) -> str:
    try:
        return parse_qs(urlsplit(url).query).get("mode", [""])[0]
    except ValueError:
        return ""


def _own(field: str, kind: str, location: str) -> Source:
    if kind == "library":
        if not _PATH.fullmatch(location) or any(step in {"", ".", ".."} for step in location.split("/")):
            raise invalid(field, "is not a path in the library")
        return Source(kind="library", location=location, shown=f"reelay:library/{location}")
    if not is_id(location):
        raise invalid(field, f"reelay:{kind}/ is followed by an id of 32 hex digits")
    return Source(kind="clip" if kind == "clip" else "recording", location=location, shown=f"reelay:{kind}/{location}")


def _bucket_file(field: str, url: str, credentials: str) -> Source:
    if not _BUCKET_FILE.fullmatch(url):
        raise invalid(field, "must be s3://bucket/key")
    if not credentials:
        raise invalid(field, "an s3:// file needs the name of stored credentials (PUT /v1/credentials/{name})")
    return Source(kind="s3", location=url, shown=url, credentials=credentials)
