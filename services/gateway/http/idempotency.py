"""Idempotency-Key: the ids that a request makes are derived from its key and its body.

A repeated request thus names the same resources as the first, and is answered from their records; nothing more is
stored, and no time limit applies. The same key with another body makes another resource.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from typing import Final

from fastapi import Request

from services.gateway.domain.errors import invalid

HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


async def id_maker(request: Request, account: str) -> Callable[[int], str]:
    """Return the function from a position in the request to an id: 32 hex digits."""
    key = request.headers.get(HEADER)
    if key is None:
        return lambda _position: uuid.uuid4().hex
    if not _KEY.fullmatch(key):
        raise invalid(HEADER, "is 1 to 255 visible ASCII characters")
    base = hashlib.sha256(
        b"\0".join([account.encode(), request.url.path.encode(), key.encode(), await request.body()])
    ).digest()
    return lambda position: hashlib.sha256(base + position.to_bytes(4)).hexdigest()[:32]


async def repeatable_id(request: Request, account: str) -> str | None:
    """Return the id that the request's key names; None without a key, when nothing can be repeated."""
    ids = await id_maker(request, account)
    return ids(0) if HEADER in request.headers else None
