"""Playback URLs: `/play/<token>/<event>/...`; the token holds account and expiry, and is signed for one event.

All URIs in playlists are relative, so the token of the first one opens the event's whole tree and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from shared.runtime.clock import Clock
from shared.security.secrets import Vault

PURPOSE: Final = "playback"
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
    return f"{expires_s:x}.{account}.{vault.sign(_signed(account, event, expires_s), PURPOSE)}"


def read_token(vault: Vault, clock: Clock, token: str, event: str) -> Pass | None:
    """Return a token's content, checked in constant time; None when it is forged, another event's or expired."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    expires_s, account, signature = int(match[1], 16), match[2], match[3]
    if not vault.verify(_signed(account, event, expires_s), signature, PURPOSE):
        return None
    return Pass(account, expires_s) if clock.now_ms() < expires_s * 1000 else None


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


def _signed(account: str, event: str, expires_s: int) -> str:
    return f"{account}/{event}/{expires_s}"
