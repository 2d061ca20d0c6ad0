"""Segments and init segments as HTTP answers: ranges, entity tags, and permanent caching."""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import Final, get_args

from fastapi import Request
from starlette.responses import Response

from services.gateway.delivery.index.live import IndexChanged, LiveIndex
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.selection import selected_init, selected_segment, track_of
from services.gateway.domain.errors import no_such
from services.gateway.domain.ids import is_id
from services.gateway.http.files import Content, send
from shared.errors import MediaError
from shared.media.segment_head import read_head
from shared.messages.media import Track
from shared.store.base import ObjectInfo, ObjectMissing

PIECE: Final = 1 << 18
TRIES: Final = 3
LARGEST_SEGMENT: Final = 256 << 20
MOST_TRACKS: Final = 64
TRACKS: Final[dict[str, Track]] = {track: track for track in get_args(Track)}
_SEGMENT: Final = re.compile(r"(\d{8,12})\.m4s")
_INIT: Final = re.compile(r"init-\d{1,6}\.mp4")


async def find_object(delivery: Delivery, index: LiveIndex, session: str, track: str, name: str) -> ObjectInfo:
    """Return an announced segment or init segment; NotFound for anything else.

    An object of the store that is not in the index is still being written, or is not for players.
    """
    segment = _SEGMENT.fullmatch(name)
    if not is_id(session) or track not in TRACKS or not (segment or _INIT.fullmatch(name)):
        raise no_such("segment")
    if not await _announced(index, session, TRACKS[track], int(segment[1]) if segment else None):
        raise no_such("segment")
    info = await asyncio.to_thread(delivery.store.info, f"live/{index.event}/{session}/{track}/{name}")
    if info is None:
        raise no_such("segment")
    return info


async def _announced(index: LiveIndex, session: str, track: Track, sequence: int | None) -> bool:
    for _ in range(TRIES):
        try:
            return await index.has(session, track, sequence)
        except IndexChanged:
            continue
    raise IndexChanged("the recording's index keeps changing")


async def send_object(
    request: Request, delivery: Delivery, info: ObjectInfo, cache: str, only: int | None = None
) -> Response:
    """Answer GET and HEAD; an object is written once, so its key makes its tag. NotFound when it is gone.

    `only`: with one track's samples alone; NotFound when it has none of that id.
    """
    if only is not None:
        return await _send_selected(request, delivery, info, only, cache)
    tag = f'"{hashlib.sha256(f"{info.key}/{info.size}".encode()).hexdigest()[:32]}"'
    read = partial(delivery.store.read, info.key, chunk=PIECE)
    try:
        return await send(request, Content(info.size, tag, read, cache=cache, what="segment"))
    except ObjectMissing as error:
        raise no_such("segment") from error


async def _send_selected(request: Request, delivery: Delivery, info: ObjectInfo, number: int, cache: str) -> Response:
    folder, _, name = info.key.rpartition("/")

    async def made() -> bytes:
        if _INIT.fullmatch(name):
            return selected_init(await delivery.tracks_of(info.key), number)
        data = await asyncio.to_thread(delivery.store.get, info.key, limit=LARGEST_SEGMENT)
        tracks = await delivery.tracks_of(f"{folder}/init-{read_head(data).init_number}.mp4")
        return await asyncio.to_thread(selected_segment, data, track_of(tracks, number))

    try:
        data = await made()
    except (ObjectMissing, MediaError) as error:
        raise no_such("segment") from error
    tag = f'"{hashlib.sha256(f"{info.key}/{info.size}/{number}".encode()).hexdigest()[:32]}"'
    content = Content(len(data), tag, lambda at, length: iter((data[at : at + length],)), cache=cache, what="segment")
    return await send(request, content)
