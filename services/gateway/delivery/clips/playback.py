"""Writes the playlists of clips, and finds the segments that are in them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from cachetools import LRUCache

from services.gateway.delivery.bodies import Body, make_body
from services.gateway.delivery.clips.cuts import Cut, cut_of, joined
from services.gateway.delivery.codecs import codecs_of, range_of
from services.gateway.delivery.index.live import PATIENCE, RETRY_NS, IndexChanged
from services.gateway.delivery.parts import JOB_FRESH_NS, Delivery
from services.gateway.delivery.playlists import (
    END,
    Header,
    Variant,
    body,
    head,
    multivariant,
    rates,
    start_at,
    target_duration,
)
from services.gateway.delivery.renditions import PARTS, only_tracks, with_sounds
from services.gateway.domain.clips.clips import Clips, KnownClip
from services.gateway.domain.errors import NotFound, NotReady, no_such
from shared.errors import Unavailable
from shared.messages.clips import ClipCreate
from shared.store.base import ObjectInfo

TRIES: Final = 3
_NAME: Final = re.compile(r"([a-z]+-[1-3])(?:-(" + PARTS + r"))?\.m3u8")
MOST_CLIPS: Final = 4096
MOST_REELS: Final = 256
MOST_ENTRIES: Final = 1_000_000
GONE: Final = "the recording of this clip is no longer kept; if a file was made of it, media.mp4 has it"


@dataclass(slots=True)
class ClipPlayback:
    """What an account's clips play. Each answer holds for a second, and longer while the broker is away."""

    delivery: Delivery
    clips: Clips
    _known: LRUCache[tuple[str, str], tuple[int, KnownClip]] = field(
        init=False, default_factory=lambda: LRUCache(MOST_CLIPS)
    )
    _cuts: LRUCache[tuple[str, str, int], tuple[int, int, Cut]] = field(
        init=False, default_factory=lambda: LRUCache(MOST_ENTRIES, _size)
    )
    _reels: LRUCache[tuple[str, str], tuple[list[Cut], Cut]] = field(
        init=False, default_factory=lambda: LRUCache(MOST_REELS)
    )

    async def variants(self, account: str, clip: str) -> Body:
        """Write the multivariant playlist of a clip: one rendition, the highest. NotFound, NotReady."""
        cut = await self._shown(account, clip)
        tracks = await self.delivery.tracks_of(cut.entries[-1].init_key)
        peak, average = rates(cut.entries)
        video = next((t for t in tracks if t.kind == "video"), None)
        width, height = (video.width, video.height) if video else (0, 0)
        uri = f"hls/{cut.track}.m3u8"
        newest = cut.entries[-1]
        captions = video is not None and await self.delivery.captioned(newest.key, newest.bytes)
        variant = Variant(
            uri, peak, average, codecs_of(tracks), width, height, range_of(tracks), captions, tracks=tracks
        )
        return make_body(with_sounds([variant]) or multivariant([variant]))

    async def media(self, account: str, clip: str, name: str) -> Body:
        """Write the media playlist of a clip, or of a part of it; NotFound for other tracks than that of `variants`."""
        cut = await self._shown(account, clip)
        found = _NAME.fullmatch(name)
        if found is None or found[1] != cut.track:
            raise no_such("playlist")
        part = found[2] or ""

        async def make() -> Body:
            return await asyncio.to_thread(_render, cut, await only_tracks(self.delivery, cut.entries, part))

        return await self.delivery.bodies.get(("clip", account, clip, part), cut, make)

    async def segment(self, account: str, clip: str, name: str) -> ObjectInfo:
        """Return a segment or init segment (`<session>/<track>/<file>`) of a clip's playlist; NotFound for others."""
        cut = await self._cut(account, clip)
        key = cut.named.get(name)
        info = await asyncio.to_thread(self.delivery.store.info, key) if key is not None else None
        if info is None:
            raise no_such("segment")
        return info

    async def _shown(self, account: str, clip: str) -> Cut:
        cut = await self._cut(account, clip)
        if cut.entries:
            return cut
        if cut.complete:
            raise NotFound(GONE)
        raise NotReady("nothing of this clip has been recorded yet")

    async def _cut(self, account: str, clip: str) -> Cut:
        """Return what a clip plays: the segments of its range, or of its ranges one after the other."""
        known = await self._clip(account, clip)
        if known.request.after_live is not None:
            raise NotReady("the clip is made when its live job has ended")
        cuts: list[Cut] = []
        for position, order in enumerate(known.request.parts):
            cuts.append(await self._range(order, position, _until(known, position)))
            if not cuts[-1].complete:  # what follows may come only when nothing is inserted before it any more
                break
        return cuts[0] if len(cuts) == 1 else self._joined(account, clip, cuts)

    def _joined(self, account: str, clip: str, cuts: list[Cut]) -> Cut:
        """Return the same joined cut as long as its parts are the same, by which bodies are kept."""
        known = self._reels.get((account, clip))
        if known is None or list(map(id, known[0])) != list(map(id, cuts)):
            known = self._reels[account, clip] = (cuts, joined(cuts))
        return known[1]

    async def _range(self, order: ClipCreate, position: int, until: Fraction | None) -> Cut:
        """Return what a range plays, chosen anew when its recording has changed, or a second later."""
        name = (order.account, order.clip, position)
        try:
            job = await self.delivery.job(order.account, order.event)
        except NotFound as error:
            raise NotFound(GONE) from error
        for _ in range(TRIES):
            index = await self.delivery.index(order.account, order.event)
            now_ns, known = self.delivery.clock.monotonic_ns(), self._cuts.get(name)
            if known and known[1] == index.version and (known[2].complete or now_ns - known[0] <= JOB_FRESH_NS):
                return known[2]
            version = index.version
            try:
                cut = await cut_of(index, order, job, self.delivery.clock.now_ms(), until)
            except IndexChanged:
                continue
            self._cuts[name] = (now_ns, version, cut)
            return cut
        raise IndexChanged("the recording's index keeps changing")

    async def _clip(self, account: str, clip: str) -> KnownClip:
        """Return a clip, at most a second old; NotFound when the account has none of this id."""
        key, now_ns = (account, clip), self.delivery.clock.monotonic_ns()
        known = self._known.get(key)
        if known is not None and now_ns - known[0] <= JOB_FRESH_NS:
            return known[1]
        try:
            async with asyncio.timeout(None if known is None else PATIENCE.total_seconds()):
                found = await self.clips.find(account, clip)
        except NotFound:
            self._known.pop(key, None)
            raise
        except (Unavailable, TimeoutError):
            if known is None:
                raise
            self._known[key] = (now_ns + RETRY_NS, known[1])
            return known[1]
        self._known[key] = (now_ns, found)
        return found


def _until(known: KnownClip, position: int) -> Fraction | None:
    """Return the end of the exact file where a clip waited for media that did not all come: its job went on later."""
    file = known.record.file if known.record else None
    if file is None or file.accuracy != "frame" or not known.request.wait:
        return None
    return file.ranges[position].out_point if file.ranges else file.out_point


def _size(kept: tuple[int, int, Cut]) -> int:
    return min(len(kept[2].entries) + 1, MOST_ENTRIES)


def _render(cut: Cut, only: Mapping[str, int]) -> Body:
    first = next((entry for entry in cut.entries if entry.number is not None), None)
    longest = max(entry.duration_ms for entry in cut.entries)
    header = Header(
        target_duration(longest), (first.number or 0) if first else 0, first.seams if first else 0,
        "VOD" if cut.complete else "EVENT", all(entry.independent for entry in cut.entries),
    )  # fmt: skip
    text = head(header) + start_at(cut.offset) + body(cut.entries, only=only)
    return make_body(text + (END if cut.complete else ""))
