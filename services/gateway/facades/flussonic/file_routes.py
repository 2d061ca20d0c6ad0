"""The archive URLs that are files and transport streams."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends
from fastapi.responses import Response, StreamingResponse

from services.gateway.delivery import mpegts
from services.gateway.delivery.follow import follow
from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.joined import file_of, growing
from services.gateway.delivery.mpegts import Pace, Remuxing, unpaced
from services.gateway.delivery.views import PATIENCE_MS, View, Window
from services.gateway.domain.errors import invalid
from services.gateway.facades.flussonic.archive_routes import Number, Watched, Watching
from services.gateway.facades.flussonic.mount import admitted_of, matched, mounted
from services.gateway.facades.flussonic.playlists import EARLY, archive_window
from services.gateway.http.files import disposition, send
from services.gateway.http.parts import part
from shared.messages.media import Track

MP4: Final = re.compile(r"archive-(\d{1,11})-(\d{1,11}|now)\.mp4", re.ASCII)
ARCHIVE_TS: Final = re.compile(r"archive-(\d{1,11})-(\d{1,11}|now)\.ts", re.ASCII)
SHIFT_TS: Final = re.compile(r"(?:timeshift_(abs|rel)-)?(\d{1,11})\.ts", re.ASCII)
EDGE_MS: Final = 6_000
EDGE_SEGMENTS: Final = 3
MORE: Final = 16
MOST_AHEAD: Final = 8192
"""Segments for which an index has room: one a second of the range and MORE; of one without an end so many."""
Room = Annotated[Remuxing, Depends(part(Remuxing))]


async def _chosen(watched: Watching, window: Window) -> tuple[View, Track]:
    view = await watched.of(window)
    return view, await view.best(window)


def _source(
    watched: Watching, view: View, track: Track, start_ms: int, end_ms: int | None
) -> AsyncIterator[IndexEntry]:
    account, gone = watched.stream.account, watched.request.is_disconnected
    return follow(watched.delivery, account, view.event, track, start_ms, end_ms, gone)


async def mp4(watched: Watched, leaf: str) -> Response:
    """Download a range as a fragmented MP4: of known length once the range is over, growing until then."""
    found = matched(MP4, leaf)
    window = archive_window(int(found[1]), found[2], watched.now_ms)
    view, track = await _chosen(watched, window)
    entries, complete = await view.segments(track, window)
    name = f"{watched.stream.name.replace('/', '-')}-{found[1]}-{found[2]}.mp4"
    most = MOST_AHEAD if window.end_ms is None else (window.end_ms - window.start_ms) // 1000 + MORE
    over = complete and (view.ended or window.end_ms is None or watched.now_ms > window.end_ms + PATIENCE_MS)
    if over:
        cache = f"{watched.viewer.scope}, max-age={min(watched.viewer.keep_s, 60)}"
        return await send(watched.request, await file_of(watched.delivery, entries, name, cache, most))
    source = _source(watched, view, track, window.start_ms, window.end_ms)
    headers = {"Content-Disposition": disposition(name), "Cache-Control": "no-store", "Accept-Ranges": "none"}
    return await _streamed(watched, growing(watched.delivery, source, most), "video/mp4", headers)


async def archive_ts(watched: Watched, room: Room, leaf: str) -> Response:
    """Download a range as a transport stream, as it is written."""
    found = matched(ARCHIVE_TS, leaf)
    window = archive_window(int(found[1]), found[2], watched.now_ms)
    view, track = await _chosen(watched, window)
    source = _source(watched, view, track, window.start_ms, window.end_ms)
    made = mpegts.stream(watched.delivery, room, watched.stream.account, source, unpaced)
    return await _streamed(watched, made, mpegts.TYPE, {})


async def late_ts(watched: Watched, room: Room, leaf: str) -> Response:
    """Play from a moment on, at the speed of the clock, as a transport stream."""
    found = matched(SHIFT_TS, leaf)
    return await _late(
        watched, room, watched.now_ms - int(found[2]) * 1000 if found[1] == "rel" else int(found[2]) * 1000
    )


async def _late(watched: Watching, room: Remuxing, at_ms: int) -> Response:
    if at_ms < 0 or timedelta(milliseconds=at_ms - watched.now_ms) > EARLY:
        raise invalid("utc", "lies in the future, or before 1970")
    view = await watched.view(at_ms)
    track = await view.best(Window("range", at_ms))
    source = _source(watched, view, track, at_ms, None)
    pace = Pace(watched.delivery.clock)
    made = mpegts.stream(watched.delivery, room, watched.stream.account, source, pace)
    return await _streamed(watched, made, mpegts.TYPE, {})


async def live_ts(watched: Watched, room: Room, leaf: str, utc: Number = None, lutc: Number = None) -> Response:
    """Play live as a transport stream; with `utc` from then on, as Kodi asks for programmes of the past."""
    del leaf, lutc  # the player's time, which says nothing new
    if utc is not None:
        return await _late(watched, room, int(utc) * 1000)
    view, track = await _chosen(watched, Window("live"))
    entries, _ = await view.segments(track, Window("live"))
    recent = [entry for entry in entries if entry.wall_end_ms > entries[-1].wall_end_ms - EDGE_MS]
    start_ms = (recent if len(recent) >= EDGE_SEGMENTS else entries[-EDGE_SEGMENTS:])[0].wall_start_ms
    source = _source(watched, view, track, start_ms, None)
    made = mpegts.stream(watched.delivery, room, watched.stream.account, source, unpaced)
    return await _streamed(watched, made, mpegts.TYPE, {})


async def _streamed(
    watched: Watching, pieces: AsyncIterator[bytes], media_type: str, headers: dict[str, str]
) -> Response:
    """Answer with pieces as they come; errors before the first one are answers of their own."""
    headers = {"Cache-Control": "no-store", **headers}
    if watched.request.method == "HEAD":
        answer = Response(headers=headers, media_type=media_type)
        del answer.headers["content-length"]  # it is not known
        return answer
    first = await anext(pieces, b"")
    admitted = admitted_of(watched.request)

    async def all_of() -> AsyncIterator[bytes]:
        try:
            with admitted.held() if admitted else nullcontext():
                yield first
                async for piece in pieces:
                    if admitted and not admitted.goes_on():
                        return
                    yield piece
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]  # a generator

    return StreamingResponse(all_of(), headers=headers, media_type=media_type)


mounted(MP4.pattern, mp4)
mounted(ARCHIVE_TS.pattern, archive_ts)
mounted(SHIFT_TS.pattern, late_ts)
mounted("mpegts", live_ts)
