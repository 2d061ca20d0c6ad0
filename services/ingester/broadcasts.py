"""Addresses of live entries instead of stream keys (docs/ingest.md): entry, owner, index, bitrate, token.

- RTMP: `rtmp://host/app/?p=<owner>&e=<entry>&i=<0 primary|1 backup>&t=<token>` and the stream name `<entry>_<bitrate>`;
  the arguments may be on the app, the tcUrl or the name. Or `rtmp://<entry>.<p|b>.domain/app?t=<token>`.
- SRT: the stream id `#:::e=<entry>,st=<0|1>,p=<token>`; `ep=` is another name of the token.

Pure. An address is one of these if its stream name, its host, or its argument `e` has the form of an entry's id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.ingester.refusals import PublishRefused

PREFIX: Final = "#:::"
MOST_KEYS: Final = 16
_ENTRY: Final = re.compile(r"[01]_[0-9A-Za-z]{8}", re.ASCII)
_NAME: Final = re.compile(r"([01]_[0-9A-Za-z]{8})(?:_(.*))?", re.ASCII | re.DOTALL)
_HOST: Final = re.compile(r"[A-Za-z]{2,8}://(?:[^/?#@\s]*@)?([01]_[0-9A-Za-z]{8})\.([pb])\.", re.ASCII | re.IGNORECASE)
_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}")
_NEEDED: Final = "peit"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """An entry, and what proves that one may publish to it; `owner` is empty where the address names none."""

    entry: str
    owner: str
    token: str = field(repr=False)


def rtmp_broadcast(name: str, args: Mapping[str, str], tc_url: str) -> Broadcast | None:
    """Return what an RTMP address names; None for one of another kind. PublishRefused when it is not complete."""
    name, said = _whole(name.strip().strip("/"), args)
    host = _HOST.match(tc_url)
    named = _NAME.fullmatch(name)
    if _KEY.search(name) or not (host or named or _ENTRY.fullmatch(said.get("e", ""))):
        return None
    given = ({"e": host[1], "i": "0" if host[2].lower() == "p" else "1", "p": ""} if host else {}) | said
    lacking = [one for one in _NEEDED if one not in given or (not given[one] and one != "p")]
    if lacking or (not host and not given["p"]):
        raise PublishRefused(f"the address lacks {', '.join(lacking or ['p'])}", "no_key")
    entries = {given["e"].lower(), *({host[1].lower()} if host else ()), *({named[1].lower()} if named else ())}
    if len(entries) > 1:
        raise PublishRefused("the address names two different entries", "ambiguous")
    if named is None or not named[2] or not named[2].isascii() or not named[2].isdecimal():
        raise PublishRefused(
            "the stream name is the entry's id, an underscore, and the number of the bitrate: 1", "no_key"
        )
    _require_served(given["i"], named[2])
    return Broadcast(entries.pop(), given["p"], given["t"])


def srt_broadcast(text: str) -> Broadcast:
    """Return what an SRT stream id that begins with `#:::` names; PublishRefused, or ValueError for a wrong syntax."""
    keys: dict[str, str] = {}
    for part in text[len(PREFIX) :].split(","):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or not name or name in keys or len(keys) == MOST_KEYS:
            raise ValueError("a part of the stream id is not key=value, or comes twice")
        keys[name] = value.strip()
    entry = keys.get("e", "").rpartition("-")[2].lower()
    token = keys.get("p") or keys.get("ep", "")
    if not _ENTRY.fullmatch(entry) or not token or "st" not in keys:
        raise PublishRefused("the stream id lacks e, st or p", "no_key")
    _require_served(keys["st"], "1")
    return Broadcast(entry, "", token)


def _whole(name: str, args: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the stream name and the arguments, of which the last may have the name behind a slash."""
    said: dict[str, str] = {}
    for one in _NEEDED:
        if one in args:
            said[one], _, behind = args[one].strip().partition("/")
            name = name or behind.partition("?")[0]
    return name, said


def _require_served(index: str, bitrate: str) -> None:
    """Raise PublishRefused for a backup and for further bitrates: they are no tracks of a job yet."""
    if index not in {"0", "1"}:
        raise PublishRefused("the index is 0 (primary) or 1 (backup)", "no_key")
    if index == "1":
        raise PublishRefused("backups (i=1) are not taken yet: publish as primary, i=0", "unsupported")
    if int(bitrate[:6]) != 1:
        raise PublishRefused("one bitrate is taken as yet: the stream name ends in _1", "unsupported")
