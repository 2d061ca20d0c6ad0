"""Playback URLs: `/play/<token>/<event>/...`; the token holds account and expiry, and is signed for one event.

All URIs in playlists are relative, so the token of the first one opens the event's whole tree and nothing else.
A clip's token, in `/play/clips/<token>/<clip>/...`, is signed for that clip and another purpose: it opens the segments
of the clip's own playlist, and no event. A name's token is signed for a name that other vendors' clients give, and
opens whatever jobs the name means at the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from shared.runtime.clock import Clock
from shared.security.secrets import Vault

PURPOSE: Final = "playback"
CLIP_PURPOSE: Final = "clip-playback"
NAME_PURPOSE: Final = "name-playback"
LIFETIME: Final = timedelta(hours=24)
SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=30)
_STEP: Final = timedelta(hours=1)
_SECOND: Final = timedelta(seconds=1)
_TOKEN: Final = re.compile(r"([0-9a-f]{1,10})\.([a-z0-9][a-z0-9-]{0,31})\.([A-Za-z0-9_-]{43})")
Kind = Literal["index", "dvr"]


@dataclass(frozen=True, slots=True)
class Pass:
    """The content of a valid token: account and expiry (s since the epoch)."""

    account: str
    expires_s: int


def make_token(vault: Vault, account: str, event: str, expires_s: int) -> str:
    """Make the token that opens an event's tree until `expires_s`."""
    return _made(vault, account, event, expires_s, PURPOSE)


def make_name_token(vault: Vault, account: str, name: str, expires_s: int) -> str:
    """Make the token that opens what a stream's name means until `expires_s`."""
    return _made(vault, account, name, expires_s, NAME_PURPOSE)


def read_token(vault: Vault, clock: Clock, token: str, event: str) -> Pass | None:
    """Return a token's content, checked in constant time; None when it is forged, another event's or expired."""
    return _read(vault, clock, token, event, PURPOSE)


def read_clip_token(vault: Vault, clock: Clock, token: str, clip: str) -> Pass | None:
    """Return the content of a clip's token, as `read_token` does; None for an event's, even if the ids were equal."""
    return _read(vault, clock, token, clip, CLIP_PURPOSE)


def read_name_token(vault: Vault, clock: Clock, token: str, name: str) -> Pass | None:
    """Return the content of a name's token, as `read_token` does; None for an event's, even if the name is its id."""
    return _read(vault, clock, token, name, NAME_PURPOSE)


def clip_playlist_url(vault: Vault, clock: Clock, base_url: str, account: str, clip: str) -> str:
    """Return the URL at which a player plays a clip from the recording's segments; valid for about 24 h."""
    end = usual_expiry(clock)
    return f"{base_url}/play/clips/{_made(vault, account, clip, end, CLIP_PURPOSE)}/{clip}/playlist.m3u8"


def playback_url(
    vault: Vault, clock: Clock, base_url: str, account: str, event: str, *, kind: Kind = "index", expires_s: int = 0
) -> str:
    """Return the URL at which a player plays an event: its live edge ("index") or its whole DVR window ("dvr").

    Without `expires_s` it is valid for about 24 h.
    """
    end = expires_s or usual_expiry(clock)
    return f"{base_url}/play/{make_token(vault, account, event, end)}/{event}/{kind}.m3u8"


def usual_expiry(clock: Clock) -> int:
    """Return when a link made now expires (s since the epoch): after LIFETIME, rounded up to the hour.

    So a link stays the same over repeated reads.
    """
    step = _STEP // _SECOND
    return -(-(clock.now_ms() // 1000 + LIFETIME // _SECOND) // step) * step


def _made(vault: Vault, account: str, ident: str, expires_s: int, purpose: str) -> str:
    return f"{expires_s:x}.{account}.{vault.sign(_signed(account, ident, expires_s), purpose)}"


def _read(vault: Vault, clock: Clock, token: str, ident: str, purpose: str) -> Pass | None:
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    expires_s, account, signature = int(match[1], 16), match[2], match[3]
    if not vault.verify(_signed(account, ident, expires_s), signature, purpose):
        return None
    return Pass(account, expires_s) if clock.now_ms() < expires_s * 1000 else None


def _signed(account: str, ident: str, expires_s: int) -> str:
    return f"{account}/{ident}/{expires_s}"
