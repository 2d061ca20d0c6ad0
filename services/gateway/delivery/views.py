"""Chooses the segments of each playlist of an event, and writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.gateway.delivery.bodies import Body, make_body
from services.gateway.delivery.codecs import codecs_of, range_of
from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import IndexChanged, LiveIndex
from services.gateway.delivery.index.shifted import shifted
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.playlists import END, Header, Variant, body, head, multivariant, rates, target_duration
from services.gateway.delivery.renditions import only_tracks, with_sounds
from services.gateway.domain.errors import NotFound, NotReady
from shared.messages.jobs import JobRecord
from shared.messages.media import Track

Kind = Literal["live", "dvr", "range", "shift"]
EDGE_MS: Final = 30_000
EDGE_SEGMENTS: Final = 4
TRIES: Final = 3
MOST_VARIANTS: Final = 16
SLIDE_MS: Final = 500
FOREVER_MS: Final = 10**15
# How late the media of a moment may arrive: the longest segment, plus the broker's delay.
PATIENCE_MS: Final = 15_000
FROM_THE_START: Final = "#EXT-X-START:TIME-OFFSET=0\n"


@dataclass(frozen=True, slots=True)
class Window:
    """What a playlist covers; `start_ms` and `end_ms` (wall clock; None: the live edge) are for ranges.

    A "shift" slides as a live playlist does, `delay_ms` late, with `back_ms` behind its edge.
    """

    kind: Kind
    start_ms: int = 0
    end_ms: int | None = None
    delay_ms: int = 0
    back_ms: int = EDGE_MS

    @property
    def query(self) -> str:
        """The range, or the delay, as a query with its question mark."""
        if self.kind == "shift":
            return f"?delay={_seconds(self.delay_ms)}&back={_seconds(self.back_ms)}"
        if self.kind != "range":
            return ""
        end = "" if self.end_ms is None else f"&end={_seconds(self.end_ms)}"
        return f"?start={_seconds(self.start_ms)}{end}"


@dataclass(frozen=True, slots=True)
class Shown:
    """Segments of a playlist; `complete`: no more will follow."""

    entries: Sequence[IndexEntry]
    complete: bool
    header: Header


class View:
    """The current state of one event: its job and its index."""

    def __init__(self, delivery: Delivery, job: JobRecord, index: LiveIndex) -> None:
        self._delivery = delivery
        self._job = job
        self._index = index

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self._job.ended

    @property
    def event(self) -> str:
        """The job's id."""
        return self._job.event

    async def segments(self, track: Track, window: Window) -> tuple[Sequence[IndexEntry], bool]:
        """Return the segments that a playlist would show, and whether no more will follow."""
        shown = await self._steady(track, window)
        return shown.entries, shown.complete

    async def media(self, track: Track, window: Window, part: str = "") -> Body:
        """Write the media playlist of a track; NotFound while it would be empty.

        `part`: of its pictures alone (`v`), or of a sound track alone (`a3`).
        """
        key = (self._job.account, self._job.event, track, window, part)
        slid = self._delivery.clock.now_ms() // SLIDE_MS if window.kind == "shift" else 0
        stamp = (self._index.version, self._job.ended, self._over(window), slid)

        async def make() -> Body:
            shown = await self._steady(track, window)
            only = await only_tracks(self._delivery, shown.entries, part)
            return await asyncio.to_thread(_render, shown, window, only)

        return await self._delivery.bodies.get(key, stamp, make)

    async def variants(self, window: Window, *, most: int = MOST_VARIANTS, apart: bool = False) -> Body:
        """Write the multivariant playlist, of the best renditions; NotFound while there is no segment.

        `apart`: where there are several sound tracks, players may choose among them.
        """
        ranked = await self._ranked(window)
        variants = [variant for _, variant in ranked[:most]]
        return make_body((with_sounds(variants) if apart else None) or multivariant(variants))
        return make_body(multivariant([variant for _, variant in ranked[:most]]))

    async def best(self, window: Window) -> Track:
        """Return the track of the best rendition; NotFound while there is no segment."""
        return (await self._ranked(window))[0][0]

    async def best_variant(self, window: Window) -> tuple[Track, Variant]:
        """Return the track of the best rendition, and what there is to say of it; NotFound as above."""
        return (await self._ranked(window))[0]

    async def _ranked(self, window: Window) -> list[tuple[Track, Variant]]:
        tracks = [track for track in self._index.tracks if track.startswith("primary")] or self._index.tracks
        found: list[tuple[Track, Variant]] = []
        for track in tracks:
            shown = await self._steady(track, window)
            found.append((track, await self._variant(track, window, shown.entries)))
        if not found:
            raise nothing_yet(self._job)
        return sorted(found, key=lambda one: -one[1].bandwidth)

    async def _variant(self, track: Track, window: Window, entries: Sequence[IndexEntry]) -> Variant:
        # Where codecs change inside a playlist, the newest are listed: a player needs them for longest.
        tracks = await self._delivery.tracks_of(entries[-1].init_key)
        peak, average = rates(entries)
        video = next((t for t in tracks if t.kind == "video"), None)
        return Variant(
            uri=f"{track}-{window.kind}.m3u8{window.query}",
            bandwidth=peak,
            average=average,
            codecs=codecs_of(tracks),
            width=video.width if video else 0,
            height=video.height if video else 0,
            range=range_of(tracks),
            captions=video is not None and await self._delivery.captioned(entries[-1].key, entries[-1].bytes),
            tracks=tracks,
        )

    async def _steady(self, track: Track, window: Window) -> Shown:
        """Choose segments, and retry when the index was rewritten meanwhile; NotFound when there are none."""
        for _ in range(TRIES):
            try:
                shown = await self._choose(track, window)
            except IndexChanged:
                continue
            if not shown.entries:
                raise nothing_yet(self._job)
            return shown
        raise IndexChanged("the recording's index keeps changing")

    async def _choose(self, track: Track, window: Window) -> Shown:
        if window.kind == "live":
            entries = await self._index.latest(track, EDGE_MS, EDGE_SEGMENTS)
            return self._shown(entries, None, complete=self._job.ended)
        if window.kind == "dvr":
            return await self._dvr(track)
        if window.kind == "shift":
            return await self._shifted(track, window)
        complete = self._over(window)
        end_ms = window.end_ms if window.end_ms is not None else self._delivery.clock.now_ms() + PATIENCE_MS
        entries = await self._index.between(track, window.start_ms, end_ms)
        if not complete:  # it grows: nothing may be inserted between segments that a player has seen
            entries = sorted((e for e in entries if e.number is not None), key=lambda e: e.number or 0)
        return self._shown(entries, "VOD" if complete else "EVENT", complete=complete)

    async def _shifted(self, track: Track, window: Window) -> Shown:
        edge_ms = self._delivery.clock.now_ms() - window.delay_ms if window.delay_ms else FOREVER_MS
        entries = await shifted(self._index, track, edge_ms, window.back_ms, EDGE_SEGMENTS)
        newest = self._index.newest(track)
        complete = self._job.ended and newest is not None and newest.wall_end_ms <= edge_ms
        return self._shown(entries, None, complete=complete)

    async def _dvr(self, track: Track) -> Shown:
        entries = await self._index.numbered(track)
        if self._job.dvr_window_s and entries:
            since = entries[-1].wall_end_ms - self._job.dvr_window_s * 1000
            entries = [entry for entry in entries if entry.wall_end_ms > since]
        elif self._job.ended and entries:
            every = await self._index.between(track, 0, 1 << 62)
            entries = every if any(entry.number is None for entry in every) else entries
        grows = not self._job.dvr_window_s and not self._index.expired_hours
        return self._shown(entries, "EVENT" if grows else None, complete=self._job.ended)

    def _shown(self, entries: list[IndexEntry], kind: Literal["EVENT", "VOD"] | None, *, complete: bool) -> Shown:
        first = next((entry for entry in entries if entry.number is not None), None)
        longest = self._index.longest_ms
        if kind == "VOD":
            longest = max((entry.duration_ms for entry in entries), default=0)
        number, seams = (first.number or 0, first.seams) if first else (0, 0)
        independent = all(entry.independent for entry in entries)
        return Shown(entries, complete, Header(target_duration(longest), number, seams, kind, independent))

    def _over(self, window: Window) -> bool:
        """Return whether nothing will be added to a range any more."""
        if self._job.ended:
            return True
        if window.kind != "range" or window.end_ms is None:
            return False
        return self._delivery.clock.now_ms() > window.end_ms + PATIENCE_MS


def _render(shown: Shown, window: Window, only: Mapping[str, int]) -> Body:
    text = head(shown.header)
    if window.kind == "range" and window.end_ms is None and not shown.complete:
        text += FROM_THE_START
    return make_body(text + body(shown.entries, only=only) + (END if shown.complete else ""))


def nothing_yet(job: JobRecord) -> NotFound:
    """Return the error while there is no segment to show; the player retries."""
    if job.ended:
        return NotFound("nothing was recorded here")
    return NotReady("nothing has been recorded here yet")


def _seconds(at_ms: int) -> str:
    seconds, millis = divmod(at_ms, 1000)
    return f"{seconds}.{millis:03}" if millis else str(seconds)
