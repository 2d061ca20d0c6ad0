"""Deletes what clients ask for: whole recordings, and ranges of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.archiver.compaction import Compactor
from services.archiver.retention import Retention, Split
from shared.errors import Unavailable
from shared.media.timeline import Identity, identity
from shared.messages.media import IndexedSegment, RecordingDelete, Track
from shared.messages.recordings import HourSummary
from shared.recording.hours import IndexDamaged, length_ms, load_hour, save_hour, with_missing
from shared.recording.numbering import names_in, runs_of
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
FOREVER_MS = 10**15


@dataclass(frozen=True, slots=True)
class Removal:
    """Deletes as retention does, in steps that may be repeated."""

    store: MediaStore
    compactor: Compactor
    retention: Retention

    async def remove(self, wish: RecordingDelete) -> None:
        """Delete the segments that lie entirely in the range, or everything. Unavailable, Conflict.

        Also Unavailable, after everything else is deleted, when the range begins or ends in an unreadable hour.
        """
        await self.compactor.compact(wish.account, wish.event, everything=True)
        await self.compactor.rebuilder.rebuild(wish.account, wish.event, await self._parted(wish))
        unread: list[HourSummary] = []
        await self.retention.expire(wish.account, wish.event, split_by(self.store, wish, unread), spare=False)
        await self.retention.tidy(wish.account, wish.event)
        if unread:
            raise Unavailable(f"nobody can tell for now what lies in {unread[0].key}")
        log.info("recording.deleted", event_id=wish.event, from_ms=wish.from_ms, to_ms=wish.to_ms)

    async def _parted(self, wish: RecordingDelete) -> set[int]:
        """Return the hours that are deleted in part, whose content must be known."""
        found = await self.retention.hours(wish.account, wish.event)
        edges = {wish.from_ms, wish.to_ms} - {None}
        return {hour.hour for hour in found for edge in edges if edge and hour.wall_start_ms < edge < hour.wall_end_ms}


def split_by(store: MediaStore, wish: RecordingDelete, unread: list[HourSummary]) -> Split:
    """Return a Split that writes objects of an hour's kept and deleted segments, valid once the record lists them.

    An hour whose content is unknown stays, and is added to `unread`.
    """
    start, end = wish.from_ms or 0, FOREVER_MS if wish.to_ms is None else wish.to_ms

    def split(hour: HourSummary) -> tuple[HourSummary | None, HourSummary | None]:
        if hour.wall_end_ms <= start or hour.wall_start_ms >= end:
            return hour, None
        if start <= hour.wall_start_ms and hour.wall_end_ms <= end:
            return None, hour
        try:
            whole = load_hour(store, hour)
        except (IndexDamaged, ObjectMissing):
            unread.append(hour)
            return hour, None
        gone = tuple(
            one
            for one in whole.segments
            if start <= one.segment.wall_start_ms and one.segment.wall_start_ms + length_ms(one.segment) <= end
        )
        stays = tuple(one for one in whole.segments if one not in gone)
        if not stays:
            return None, hour
        away = _away(hour, whole.segments, start, end)
        if not gone:
            runs = runs_of([one.segment for one in stays])
            return (with_missing(hour.model_copy(update={"runs": runs}), hour, away) if hour.lost else hour), None
        parts = [save_hour(store, whole.model_copy(update={"segments": each}), part=True) for each in (stays, gone)]
        return with_missing(parts[0], hour, away), with_missing(parts[1], hour, _missing(hour, whole.segments) - away)

    return split


def _missing(hour: HourSummary, there: Sequence[IndexedSegment]) -> set[Identity]:
    """Return the names of the segments that an hour lacks."""
    return set(names_in(hour.runs or ())) - {identity(one.segment) for one in there}


def _away(hour: HourSummary, there: Sequence[IndexedSegment], start: int, end: int) -> set[Identity]:
    """Return the hour's missing segments that, by others of their session, certainly lie outside a range."""
    before: dict[tuple[str, Track], int] = {}
    behind: dict[tuple[str, Track], int] = {}
    for one in there:
        segment = one.segment
        of = (segment.session, segment.track)
        if segment.wall_start_ms < start:
            before[of] = max(segment.sequence, before.get(of, 0))
        if segment.wall_start_ms >= end:
            behind[of] = min(segment.sequence, behind.get(of, segment.sequence))
    return {
        name
        for name in _missing(hour, there)
        if name.sequence < before.get(name[:2], 0) or name.sequence > behind.get(name[:2], name.sequence)
    }
