"""Signed, expiring download links for clips."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from services.gateway.deps import Deps

LIFETIME: Final = timedelta(hours=24)
PURPOSE: Final = "clip-download"
_STEP_S: Final = 3600


def signed_query(deps: Deps, account: str, clip: str) -> str:
    """Give the query that opens a clip's file without an API key for about 24 h.

    The end is rounded up to the hour, so that the link stays the same over repeated reads.
    """
    now_s = deps.clock.now_ms() // 1000
    expires = -(-(now_s + LIFETIME // timedelta(seconds=1)) // _STEP_S) * _STEP_S
    signature = deps.vault.sign(f"{account}/{clip}/{expires}", PURPOSE)
    return urlencode({"account": account, "expires": expires, "signature": signature})


def is_signed(deps: Deps, account: str, clip: str, expires: int, signature: str) -> bool:
    """Tell whether a link was made by us and has not expired."""
    good = deps.vault.verify(f"{account}/{clip}/{expires}", signature, PURPOSE)
    return good and deps.clock.now_ms() < expires * 1000
