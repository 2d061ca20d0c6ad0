"""Sends objects and files: ETag, ranges, HEAD; bytes are read in threads, piece by piece."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from services.gateway.http.pieces import in_threads
from services.gateway.http.problems import ApiError
from services.gateway.http.ranges import Unsatisfiable, matches, meets, wanted

PIECE: Final = 1 << 19
LONGEST_NAME: Final = 150
_UNQUOTABLE: Final = re.compile(r"[^ !#-\[\]-~]")
_SEPARATORS: Final = re.compile(r"[\x00-\x1f\x7f/\\:]+")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to send. `tag` identifies them (other bytes, another tag); `read(offset, length)` yields them, in a thread.

    Without a `name` there is no Content-Disposition. `what` names them in errors.
    """

    size: int
    tag: str
    read: Callable[[int, int], Iterator[bytes]]
    name: str = ""
    media_type: str = "video/mp4"
    headers: tuple[tuple[str, str], ...] = ()
    cache: str = "private, no-cache"
    what: str = "file"


def tag_of(*parts: object) -> str:
    """Make an entity tag from what identifies the bytes."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def disposition(name: str) -> str:
    """Return the Content-Disposition that saves under `name` (RFC 6266): in ASCII, and in full."""
    stem, dot, ending = _SEPARATORS.sub(" ", name).strip().rpartition(".")
    safe = f"{stem[:LONGEST_NAME]}{dot}{ending}"
    return f"attachment; filename=\"{_UNQUOTABLE.sub('_', safe)}\"; filename*=UTF-8''{quote(safe, safe='')}"


async def send(request: Request, content: Content) -> Response:
    """Answer a GET or HEAD: 200, 206, 304, or ApiError 412, 416. Errors of the first read are raised here.

    The order of conditions is that of RFC 9110, 13.2.2. There are no dates of modification, so conditions by date are
    ignored (13.1.4). Ranges are defined for GET alone (14.2).
    """
    if not meets(_joined(request, "if-match"), content.tag):
        raise ApiError(412, f"the {content.what} is another one by now", headers={"ETag": content.tag})
    headers = {"ETag": content.tag, "Accept-Ranges": "bytes", "Cache-Control": content.cache, **dict(content.headers)}
    if content.name:
        headers["Content-Disposition"] = disposition(content.name)
    if matches(_joined(request, "if-none-match"), content.tag):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range") if request.method == "GET" else None
    try:
        span = wanted(asked, request.headers.get("if-range"), content.tag, content.size)
    except Unsatisfiable as error:
        outside = {"Content-Range": f"bytes */{content.size}", "ETag": content.tag}
        raise ApiError(416, f"the {content.what} has {content.size} bytes", headers=outside) from error
    headers["Content-Length"] = str(span.length)
    if span.part:
        headers["Content-Range"] = f"bytes {span.offset}-{span.offset + span.length - 1}/{content.size}"
    status = 206 if span.part else 200
    if request.method == "HEAD" or span.length == 0:
        return Response(status_code=status, headers=headers, media_type=content.media_type)
    pieces = content.read(span.offset, span.length)
    first = await asyncio.to_thread(next, pieces, b"")
    return StreamingResponse(
        in_threads(first, pieces), status_code=status, headers=headers, media_type=content.media_type
    )


def _joined(request: Request, name: str) -> str | None:
    """Return a header that holds a list, with several lines joined; None without one."""
    lines = request.headers.getlist(name)
    return ", ".join(lines) if lines else None
