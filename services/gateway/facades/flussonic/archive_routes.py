"""The archive URLs that are playlists, and what these lead to: media playlists and segments."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from services.gateway.delivery.bodies import Body, make_body
from services.gateway.delivery.objects import TRACKS, find_object, send_object
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.routes import Viewer, send_playlist
from services.gateway.delivery.views import EDGE_MS, MOST_VARIANTS, View, Window
from services.gateway.domain.errors import NotFound, invalid, no_such
from services.gateway.facades.flussonic import playlists
from services.gateway.facades.flussonic.dvr import Dvr
from services.gateway.facades.flussonic.mount import mounted, watched
from services.gateway.facades.flussonic.playlists import ARCHIVE, LIVE, REWIND, SHIFT
from services.gateway.facades.flussonic.streams import Stream
from services.gateway.http.parts import part

TheDvr = Annotated[Dvr, Depends(part(Dvr))]
Number = Annotated[Decimal | None, Query(ge=0, le=10**11, max_digits=14, decimal_places=3)]
_HEX: Final = r"[0-9a-f]{32}"
_TRACK: Final = r"(?:primary|backup)-[1-3]"
_ALL: Final = "|".join(rf"(?:{pattern.pattern})" for pattern in (ARCHIVE, REWIND, SHIFT))


@dataclass(frozen=True, slots=True)
class Watching:
    """A request to play a stream."""

    request: Request
    dvr: Dvr
    stream: Stream
    viewer: Viewer

    @property
    def delivery(self) -> Delivery:
        """What delivers."""
        return self.dvr.delivery

    @property
    def now_ms(self) -> int:
        """The time now."""
        return self.delivery.clock.now_ms()

    async def view(self, at_ms: int | None) -> View:
        """Return the view of the job whose recording holds a moment; None: the present one."""
        event = self.stream.event if at_ms is None else await self.dvr.event_at(self.stream, at_ms)
        job = await self.delivery.job(self.stream.account, event)
        return View(self.delivery, job, await self.delivery.index(self.stream.account, event))

    async def of(self, window: Window) -> View:
        """Return the view of the job that a window looks at."""
        if window.kind == "range":
            return await self.view(window.start_ms)
        return await self.view(self.now_ms - window.delay_ms if window.delay_ms else None)

    async def send(self, body: Body) -> Response:
        """Answer with a playlist whose addresses carry the request's query."""
        query = playlists.carried(self.request.query_params.multi_items())
        if query:

            async def make() -> Body:
                return await asyncio.to_thread(lambda: make_body(playlists.with_query(body.plain.decode(), query)))

            key = (self.stream.account, self.request.url.path, self.request.url.query)
            body = await self.delivery.bodies.get(key, body.tag, make)
        return send_playlist(self.request, body, self.viewer)

    async def variants(self, window: Window, *, mono: bool) -> Response:
        """Answer with a window's multivariant playlist."""
        view = await self.of(window)
        if window.kind == "live" and view.ended:
            window = Window("dvr")
        return await self.send(await view.variants(window, most=1 if mono else MOST_VARIANTS))

    async def media(self, window: Window) -> Response:
        """Answer with the media playlist of a window's best rendition."""
        view = await self.of(window)
        if window.kind == "live" and view.ended:
            window = Window("dvr")
        return await self.send(await view.media(await view.best(window), window))


async def watching(request: Request, dvr: TheDvr, name: str) -> Watching:
    """Return who watches what; 401, 403, NotFound."""
    return Watching(request, dvr, *await watched(request, name))


Watched = Annotated[Watching, Depends(watching)]


async def live(watched: Watched, leaf: str, utc: Number = None, lutc: Number = None) -> Response:
    """Play live: index, mono (one rendition), video; with `utc` as it was then."""
    del lutc  # the player's time, which says nothing new
    mono = leaf.startswith("mono")
    if utc is not None:
        return await watched.variants(playlists.window_from(int(utc), watched.now_ms), mono=mono)
    return await (watched.media(Window("live")) if mono else watched.variants(Window("live"), mono=False))


async def playlist(watched: Watched, leaf: str) -> Response:
    """Play a range, or live but late, or live with more behind it."""
    name = leaf.removesuffix(".m3u8")
    if found := ARCHIVE.fullmatch(name):
        window = playlists.archive_window(int(found[2]), found[3], watched.now_ms)
        return await (watched.media(window) if found[1] == "mono" else watched.variants(window, mono=False))
    if found := REWIND.fullmatch(name):
        return await watched.variants(playlists.rewind_window(int(found[1])), mono=False)
    found = SHIFT.fullmatch(name)
    if found is None:
        raise no_such("playlist")
    mono = found[1] == "mono"
    if found[2] == "abs":
        return await watched.variants(playlists.window_from(int(found[3]), watched.now_ms), mono=mono)
    window = playlists.late_window(int(found[3]))
    return await (watched.media(window) if mono else watched.variants(window, mono=False))


async def media(
    watched: Watched, leaf: str, start: Number = None, end: Number = None, delay: Number = None, back: Number = None
) -> Response:
    """Return the media playlist of a track."""
    track, _, kind = leaf.removesuffix(".m3u8").rpartition("-")
    if kind == "range":
        if start is None or (end is not None and end <= start):
            raise invalid("end" if start is not None else "start", "is needed, and must be after start")
        if end is not None and end - start > playlists.LONGEST // timedelta(seconds=1):
            raise invalid("end", "a range is at most 48 hours long")
        window = Window("range", int(start * 1000), None if end is None else int(end * 1000))
    elif kind == "shift":
        back_ms = EDGE_MS if back is None else min(int(back * 1000), playlists.LONGEST // timedelta(milliseconds=1))
        window = Window("shift", delay_ms=int((delay or 0) * 1000), back_ms=back_ms)
    else:
        window = Window("dvr" if kind == "dvr" else "live")
    view = await watched.of(window)
    return await watched.send(await view.media(TRACKS[track], window))


async def segment(watched: Watched, session: str, track: str, file: str) -> Response:
    """Return a segment, or an init segment, of any of the stream's jobs."""
    delivery, viewer = watched.delivery, watched.viewer
    for event in watched.stream.events:
        try:
            await delivery.job(viewer.account, event)
            index = await delivery.index(viewer.account, event)
            info = await find_object(delivery, index, session, track, file)
        except NotFound:
            continue
        return await send_object(watched.request, delivery, info, f"{viewer.scope}, max-age={viewer.keep_s}, immutable")
    raise no_such("segment")


mounted(rf"(?:{'|'.join(LIVE)})\.m3u8", live)
mounted(rf"(?:{_ALL})\.m3u8", playlist)
mounted(rf"{_TRACK}-(?:live|dvr|range|shift)\.m3u8", media)
mounted(
    rf"{_HEX}/{_TRACK}/(?:\d{{8,12}}\.m4s|init-\d{{1,6}}\.mp4)", segment, path="/{name:path}/{session}/{track}/{file}"
)
