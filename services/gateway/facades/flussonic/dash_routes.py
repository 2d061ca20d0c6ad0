"""MPDs of the live edge, and of ranges that are over."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from fastapi.responses import Response

from services.gateway.delivery.dash import TYPE, Live, live_mpd, static_mpd
from services.gateway.delivery.views import View, Window
from services.gateway.domain.errors import NotReady
from services.gateway.facades.flussonic.archive_routes import Watched, Watching
from services.gateway.facades.flussonic.mount import matched, mounted
from services.gateway.facades.flussonic.playlists import archive_window, carried
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.sessions import EventClock, clock_key

ARCHIVE: Final = re.compile(r"archive-(\d{1,11})-(\d{1,11})\.mpd", re.ASCII)


async def archive(watched: Watched, leaf: str) -> Response:
    """Play a range that is over."""
    found = matched(ARCHIVE, leaf)
    window = archive_window(int(found[1]), found[2], watched.now_ms)
    view = await watched.of(window)
    return await _static(watched, view, window)


async def live(watched: Watched, leaf: str) -> Response:
    """Play live; once the job has ended, all of it."""
    del leaf
    window = Window("live")
    view = await watched.of(window)
    if view.ended:
        return await _static(watched, view, Window("dvr"))
    track, variant = await view.best_variant(window)
    entries, _ = await view.segments(track, window)
    clocks = Bucket(watched.delivery.js, buckets.SESSIONS, EventClock)
    stored = await clocks.get(clock_key(watched.stream.account, view.event))
    last = entries[-1]
    begun_ms = stored.value.first_frame_ms if stored else last.wall_start_ms - int(last.stream.start * 1000)
    times = Live(watched.now_ms, begun_ms)
    return _answer(watched, live_mpd(entries, variant, _query(watched), times), 1)


async def _static(watched: Watching, view: View, window: Window) -> Response:
    track, variant = await view.best_variant(window)
    entries, complete = await view.segments(track, window)
    if not complete:
        raise NotReady("the range is not over yet: play its .m3u8, which grows")
    return _answer(watched, await asyncio.to_thread(static_mpd, entries, variant, _query(watched)), 60)


def _query(watched: Watching) -> str:
    return carried(watched.request.query_params.multi_items())


def _answer(watched: Watching, text: str, keep_s: int) -> Response:
    cache = f"{watched.viewer.scope}, max-age={min(watched.viewer.keep_s, keep_s)}"
    body = b"" if watched.request.method == "HEAD" else text.encode()
    return Response(body, media_type=TYPE, headers={"Cache-Control": cache, "Content-Length": str(len(text.encode()))})


mounted(r"index\.mpd", live)
mounted(ARCHIVE.pattern, archive)
