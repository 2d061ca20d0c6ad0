"""What clients ask to be deleted: whole recordings, and ranges of them."""

from __future__ import annotations

from dataclasses import dataclass

from services.archiver.compaction import Compactor
from services.archiver.retention import Retention, Split
from shared.logging import get_logger
from shared.messages.jobs import HourSummary
from shared.messages.media import RecordingDelete
from shared.recording.hours import IndexDamaged, length_ms, load_hour, save_hour
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
FOREVER_MS = 10**15


@dataclass(frozen=True, slots=True)
class Removal:
    """Deletes as retention does, in steps that may be done again."""

    store: MediaStore
    compactor: Compactor
    retention: Retention

    async def remove(self, wish: RecordingDelete) -> None:
        """Delete the segments that lie whole in the range, or everything. Unavailable, Conflict."""
        await self.compactor.compact(wish.account, wish.event, everything=True)
        await self.compactor.rebuilder.rebuild(wish.account, wish.event, await self._parted(wish))
        await self.retention.expire(wish.account, wish.event, split_by(self.store, wish))
        await self.retention.tidy(wish.account, wish.event)
        log.info("recording.deleted", event_id=wish.event, from_ms=wish.from_ms, to_ms=wish.to_ms)

    async def _parted(self, wish: RecordingDelete) -> set[int]:
        """Name the hours of which a part goes: what they hold must be known."""
        found = await self.retention.hours(wish.account, wish.event)
        edges = {wish.from_ms, wish.to_ms} - {None}
        return {hour.hour for hour in found for edge in edges if edge and hour.wall_start_ms < edge < hour.wall_end_ms}


def split_by(store: MediaStore, wish: RecordingDelete) -> Split:
    """Part each hour into objects of what stays and what goes; both count once the record lists them."""
    start, end = wish.from_ms or 0, FOREVER_MS if wish.to_ms is None else wish.to_ms

    def split(hour: HourSummary) -> tuple[HourSummary | None, HourSummary | None]:
        if hour.wall_end_ms <= start or hour.wall_start_ms >= end:
            return hour, None
        if start <= hour.wall_start_ms and hour.wall_end_ms <= end:
            return None, hour
        try:
            whole = load_hour(store, hour)
        except (IndexDamaged, ObjectMissing):  # nobody can tell what lies in it
            return hour, None
        gone = tuple(
            one
            for one in whole.segments
            if start <= one.segment.wall_start_ms and one.segment.wall_start_ms + length_ms(one.segment) <= end
        )
        stays = tuple(one for one in whole.segments if one not in gone)
        if not gone or not stays:
            return (None, hour) if gone else (hour, None)
        return (
            save_hour(store, whole.model_copy(update={"segments": stays}), part=True),
            save_hour(store, whole.model_copy(update={"segments": gone}), part=True),
        )

    return split
